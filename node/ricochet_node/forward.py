"""One call to a provider and its answer back to the caller, on behalf of the vault.

Headers are rebuilt both ways, no redirect is followed, answers are bounded, and the key's bytes
never travel back. `Delivery` collects what happened, so that the vault can settle and note the call
however it ends, a caller who hangs up included.
"""

import io
import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

import msgspec
from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    TCPConnector,
    web,
)
from yarl import URL

from ricochet_node.limits import Outcome
from ricochet_node.providers import Dialect, credential
from ricochet_node.redact import Redactor
from ricochet_node.usage_reader import UsageReader
from ricochet_node.vault_request import Refusal, Target

MAX_RESPONSE: Final = 32 * 1024 * 1024
TIMEOUT: Final = ClientTimeout(total=630, connect=10, sock_connect=10)
"""Above the longest deadline of an ask; the caller's own timeout ends a call earlier."""
_STREAM: Final = "text/event-stream"
_TYPES: Final = frozenset({_STREAM, "application/json"})
_LIMIT_NAMES: Final = re.compile(r"(x|anthropic)-ratelimit-[a-z-]{1,40}")
_LIMIT_VALUE: Final = re.compile(r"[0-9A-Za-z.:+-]{1,32}")
_MOST_LIMITS: Final = 24


class Route(msgspec.Struct, frozen=True):
    """An unlocked key: the secret, and the only place it is sent to."""

    secret: str
    origin: str
    dialect: Dialect


class Delivery(msgspec.Struct):
    """What became of a call so far; filled in while it runs."""

    status: int
    refusal: str = ""
    tokens: tuple[int, int] | None = None
    unbilled: bool = False

    def outcome(self) -> Outcome:
        """What counts."""
        return Outcome(tokens=self.tokens, unbilled=self.unbilled)


class Forwarder:
    """The vault's client; a context that closes it."""

    def __init__(self, timeout: ClientTimeout = TIMEOUT) -> None:
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        # llama.cpp closes its socket after a stream without saying so: connections are not reused.
        self._client = ClientSession(
            connector=TCPConnector(force_close=True, limit=0),
            timeout=self._timeout,
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()

    async def forward(
        self,
        request: web.BaseRequest,
        key: Route,
        target: Target,
        body: bytes,
        delivery: Delivery,
        settle: Callable[[], None],
    ) -> web.StreamResponse:
        """Send and pass the answer on; Refusal when nothing of it was passed on yet.

        `settle` is called before the caller sees the end, so that his next call finds this one
        counted and its place free.
        """
        response: web.StreamResponse | None = None
        try:
            async with self._client.request(
                target.method,
                URL(key.origin + target.path, encoded=True),
                data=io.BytesIO(body) if body else None,
                headers=_sent(key, body),
                allow_redirects=False,
            ) as upstream:
                _check(upstream, delivery)
                response = web.StreamResponse(
                    status=upstream.status, headers=_rebuilt(upstream.headers, key.secret)
                )
                await response.prepare(request)
                if await _pass(upstream, response, key, delivery):
                    settle()
                    await response.write_eof()
                    return response
                delivery.refusal = "too_large"
        except ClientConnectorError:
            delivery.unbilled = True
            delivery.refusal = "unreachable"
        except TimeoutError:
            delivery.refusal = "timeout"
        except (ClientError, OSError):
            delivery.refusal = "cut"
        if response is None:
            raise Refusal(502, delivery.refusal)
        # An orderly end would mean "complete" to the caller.
        if request.transport is not None:
            request.transport.abort()
        return response


async def _pass(
    upstream: ClientResponse, response: web.StreamResponse, key: Route, delivery: Delivery
) -> bool:
    """Copy the answer; False when it is longer than any answer may be."""
    redactor = Redactor(key.secret.encode())
    usage = UsageReader(key.dialect, streamed=upstream.content_type == _STREAM)
    received = 0
    async for data in upstream.content.iter_any():
        received += len(data)
        if received > MAX_RESPONSE:
            return False
        usage.feed_untrusted(data)
        await response.write(redactor.feed(data))
    delivery.status = upstream.status
    if upstream.status < 300:
        delivery.tokens = usage.tokens()
    await response.write(redactor.rest())
    return True


def _check(upstream: ClientResponse, delivery: Delivery) -> None:
    # A provider that declines has generated nothing; one that fails may have.
    delivery.unbilled = 300 <= upstream.status < 500
    if 300 <= upstream.status < 400:
        raise Refusal(502, "redirect")
    if upstream.headers.get("Content-Encoding", "identity") != "identity":
        raise Refusal(502, "encoding")


def _sent(key: Route, body: bytes) -> dict[str, str]:
    headers = {
        **credential(key.dialect, key.secret),
        "Accept": "text/event-stream, application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "User-Agent": "ricochet",
    }
    if body:
        headers["Content-Type"] = "application/json"
    return headers


def _rebuilt(upstream: Mapping[str, str], secret: str) -> dict[str, str]:
    kind = upstream.get("Content-Type", "").partition(";")[0].strip().lower()
    headers = {"Content-Type": kind if kind in _TYPES else "application/octet-stream"}
    wait = upstream.get("Retry-After", "")
    if wait.isascii() and wait.isdigit() and len(wait) < 7:
        headers["Retry-After"] = wait
    for name, value in list(upstream.items())[:200]:
        named = _LIMIT_NAMES.fullmatch(name.lower()) and _LIMIT_VALUE.fullmatch(value)
        if named and not (secret and secret in value) and len(headers) < _MOST_LIMITS:
            headers[name.lower()] = value
    return headers
