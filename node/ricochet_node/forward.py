"""One call to a provider and its answer back to the caller, on behalf of the vault.

Headers are rebuilt both ways, no redirect is followed, answers are bounded, and the key's bytes
never travel back. `Delivery` collects what happened, so that the vault can settle and note the call
however it ends, a caller who hangs up included.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from types import TracebackType
from typing import Final, Self

import msgspec

from ricochet_node.deadline import Deadline
from ricochet_node.http_client import STREAM, Answer, BrokenAnswer, HttpClient, Unreachable
from ricochet_node.http_request import Request, Stream
from ricochet_node.limits import Outcome
from ricochet_node.providers import Dialect, credential
from ricochet_node.redact import Redactor
from ricochet_node.usage_reader import UsageReader
from ricochet_node.vault_request import Refusal, Target

MAX_RESPONSE: Final = 32 * 1024 * 1024
MOST_SECONDS: Final = 630
"""Above the longest deadline of an ask; the caller's own timeout ends a call earlier."""
_TYPES: Final = frozenset({STREAM, "application/json"})
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

    def __init__(self, most_seconds: float = MOST_SECONDS) -> None:
        self._most_seconds = most_seconds
        self._client = HttpClient()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def forward(
        self,
        request: Request,
        key: Route,
        target: Target,
        body: bytes,
        delivery: Delivery,
        settle: Callable[[], None],
    ) -> None:
        """Send and pass the answer on; Refusal when nothing of it was passed on yet.

        `settle` is called before the caller sees the end, so that his next call finds this one
        counted and its place free.
        """
        passed = _Passed(request, key, delivery, settle)
        try:
            most = asyncio.get_running_loop().time() + self._most_seconds
            with Deadline(most) as until:
                if await until.wait(self._passed_on(passed, key, target, body, delivery)):
                    return
            delivery.refusal = "too_large"
        except Unreachable:
            delivery.unbilled = True
            delivery.refusal = "unreachable"
        except TimeoutError:
            delivery.refusal = "timeout"
        except BrokenAnswer:
            delivery.refusal = "cut"
        if not passed.begun:
            raise Refusal(502, delivery.refusal)
        # An orderly end would mean "complete" to the caller.
        request.abort()

    async def _passed_on(
        self, passed: "_Passed", key: Route, target: Target, body: bytes, delivery: Delivery
    ) -> bool:
        headers = _sent(key, body)
        answer = await self._client.send(target.method, key.origin, target.path, headers, body)
        with closing(answer):
            _check(answer, delivery)
            return await passed.on(answer)


class _Passed:
    """One answer on its way to the caller."""

    def __init__(
        self, request: Request, key: Route, delivery: Delivery, settle: Callable[[], None]
    ) -> None:
        self._request = request
        self._key = key
        self._delivery = delivery
        self._settle = settle
        self._stream: Stream | None = None

    @property
    def begun(self) -> bool:
        """Whether the caller has heard of it."""
        return self._stream is not None

    async def on(self, answer: Answer) -> bool:
        """Copy the answer; False when it is longer than any answer may be."""
        redactor = Redactor(self._key.secret.encode())
        usage = UsageReader(self._key.dialect, streamed=answer.content_type == STREAM)
        headers = _rebuilt(answer.headers, self._key.secret)
        received = 0
        passing = b""
        while data := await answer.read():
            received += len(data)
            if received > MAX_RESPONSE:
                return False
            usage.feed_untrusted(data)
            passing = redactor.feed(data)
            if answer.done and self._stream is None:
                continue  # it came at once, and goes at once
            if self._stream is None:
                self._stream = self._request.begin(answer.status, headers)
            await self._stream.write(passing)
            passing = b""
        passing += redactor.rest()
        self._delivery.status = answer.status
        if answer.status < 300:
            self._delivery.tokens = usage.tokens()
        self._settle()
        if self._stream is None:
            self._request.answer(answer.status, passing, headers)
        else:
            self._stream.end(passing)
        return True


def _check(answer: Answer, delivery: Delivery) -> None:
    # A provider that declines has generated nothing; one that fails may have.
    delivery.unbilled = 300 <= answer.status < 500
    if 300 <= answer.status < 400:
        raise Refusal(502, "redirect")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise Refusal(502, "encoding")


def _sent(key: Route, body: bytes) -> dict[str, str]:
    headers = {
        **credential(key.dialect, key.secret),
        "Accept": "text/event-stream, application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "ricochet",
    }
    if body:
        headers["Content-Type"] = "application/json"
    return headers


def _rebuilt(upstream: Mapping[str, str], secret: str) -> dict[str, str]:
    kind = upstream.get("content-type", "").partition(";")[0].strip().lower()
    headers = {"Content-Type": kind if kind in _TYPES else "application/octet-stream"}
    wait = upstream.get("retry-after", "")
    if wait.isascii() and wait.isdigit() and len(wait) < 7:
        headers["Retry-After"] = wait
    for name, value in list(upstream.items())[:200]:
        if "-ratelimit-" not in name:
            continue
        named = _LIMIT_NAMES.fullmatch(name) and _LIMIT_VALUE.fullmatch(value)
        if named and not (secret and secret in value) and len(headers) < _MOST_LIMITS:
            headers[name] = value
    return headers
