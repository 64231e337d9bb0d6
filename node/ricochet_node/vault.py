"""The vault: a process of its own, and the only one that ever holds a decrypted provider key.

It is an egress proxy on loopback: `/<key id>` followed by one of the provider's routes
(`providers.py`), such as `POST /<key id>/chat/completions`. It adds the credential and forwards to
the origin sealed with that key, nowhere else. Callers show the token that this boot's parent handed
over; it is scoped to the key ids named with it, and each of them to its models. Headers are rebuilt
both ways, no redirect is followed, and the key's bytes never travel back.

It is started as `python -I -S` (see `vault_process.py`), reads its boot line from stdin, reports
its port on stdout, and ends when stdin closes, so it never outlives its parent.
"""

import asyncio
import hmac
import io
import logging
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

from ricochet_node.key_rules import KeyRules
from ricochet_node.keystore import Keystore
from ricochet_node.origin import parse_origin
from ricochet_node.providers import Dialect, credential, provider_of
from ricochet_node.redact import Redactor
from ricochet_node.vault_request import Refusal, Target, body_untrusted, target_untrusted
from ricochet_protocol.errors import RicochetError

REFUSAL: Final = "X-Vault-Refusal"
"""Header that marks an answer as the vault's own; upstream headers never pass, so it is genuine."""
MAX_REQUEST: Final = 8 * 1024 * 1024
"""Twice the largest message a peer can send: JSON escapes what msgpack does not."""
MAX_RESPONSE: Final = 32 * 1024 * 1024
_TIMEOUT: Final = ClientTimeout(total=630, connect=10, sock_connect=10)
"""Above the longest deadline of an ask; the caller's own timeout ends a call earlier."""
_TYPES: Final = frozenset({"text/event-stream", "application/json"})


class Boot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parent's first line: it travels through a pipe, never in arguments or environment."""

    passphrase: str
    token: str
    keystore: str
    keys: dict[str, KeyRules]


class Ready(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The vault's only line: where it listens, or why it cannot."""

    port: int = 0
    code: str = ""
    message: str = ""
    hint: str = ""
    exit_code: int = 0


class _Key(msgspec.Struct, frozen=True):
    secret: str
    origin: str
    dialect: Dialect
    rules: KeyRules


class Vault:
    """The proxy; `keys` are the only ones this token opens."""

    def __init__(self, keys: Mapping[str, _Key], token: str) -> None:
        self._keys = keys
        self._credential = f"Bearer {token}".encode()
        self._host = ""

    async def serve(self, ready: asyncio.Future[int], stop: asyncio.Event) -> None:
        """Accept calls on a free port of loopback until `stop`; `ready` gets the port."""
        # Cancelling the handler of a caller who hung up is what ends the upstream call.
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=1)
        await runner.setup()
        # llama.cpp closes its socket after a stream without saying so: connections are not reused.
        async with ClientSession(
            connector=TCPConnector(force_close=True, limit=0),
            timeout=_TIMEOUT,
            auto_decompress=False,
            trust_env=False,
        ) as self._client:
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                port = int(runner.addresses[0][1])
                self._host = f"127.0.0.1:{port}"
                ready.set_result(port)
                await stop.wait()
            finally:
                await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            key, target = self._admit(request)
            body = body_untrusted(target, await _read(request), key.rules)
            return await self._forward(request, key, target, body)
        except Refusal as refusal:
            return web.Response(status=refusal.status, headers={REFUSAL: refusal.code})

    def _admit(self, request: web.BaseRequest) -> tuple[_Key, Target]:
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._credential):
            raise Refusal(403, "token")
        # A page in a browser reaches loopback too; it cannot choose Host and always names itself.
        if request.headers.getall("Host", []) != [self._host] or "Origin" in request.headers:
            raise Refusal(403, "host")
        for key_id, key in self._keys.items():
            if request.raw_path.startswith(f"/{key_id}/"):
                below = request.raw_path[len(key_id) + 1 :]
                return key, target_untrusted(key.dialect, request.method, below)
        raise Refusal(404, "path")

    async def _forward(
        self, request: web.BaseRequest, key: _Key, target: Target, body: bytes
    ) -> web.StreamResponse:
        headers = {
            **credential(key.dialect, key.secret),
            "Accept": "text/event-stream, application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "ricochet",
        }
        if body:
            headers["Content-Type"] = "application/json"
        response: web.StreamResponse | None = None
        redactor = Redactor(key.secret.encode())
        received = 0
        try:
            async with self._client.request(
                target.method,
                URL(key.origin + target.path, encoded=True),
                data=io.BytesIO(body) if body else None,
                headers=headers,
                allow_redirects=False,
            ) as upstream:
                if 300 <= upstream.status < 400:
                    raise Refusal(502, "redirect")
                if upstream.headers.get("Content-Encoding", "identity") != "identity":
                    raise Refusal(502, "encoding")
                response = web.StreamResponse(
                    status=upstream.status, headers=_rebuilt(upstream.headers)
                )
                await response.prepare(request)
                async for data in upstream.content.iter_any():
                    received += len(data)
                    if received > MAX_RESPONSE:
                        return _cut(request, response)
                    await response.write(redactor.feed(data))
                await response.write(redactor.rest())
                await response.write_eof()
                return response
        except TimeoutError:
            failure = "timeout"
        except (ClientError, OSError):
            failure = "unreachable"
        if response is None:
            raise Refusal(502, failure)
        return _cut(request, response)


async def _read(request: web.BaseRequest) -> bytes:
    body = bytearray()
    async for data in request.content.iter_any():
        body += data
        if len(body) > MAX_REQUEST:
            raise Refusal(413, "too_large")
    return bytes(body)


def _rebuilt(upstream: Mapping[str, str]) -> dict[str, str]:
    kind = upstream.get("Content-Type", "").partition(";")[0].strip().lower()
    headers = {"Content-Type": kind if kind in _TYPES else "application/octet-stream"}
    wait = upstream.get("Retry-After", "")
    if wait.isascii() and wait.isdigit() and len(wait) < 7:
        headers["Retry-After"] = wait
    return headers


def _cut(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """End a response so that the caller sees it was cut: an orderly end would mean "complete"."""
    if request.transport is not None:
        request.transport.abort()
    return response


def unlock(boot: Boot) -> dict[str, _Key]:
    """The keys the token is scoped to; ConfigurationError when one does not open."""
    store = Keystore(Path(boot.keystore))
    known = {info.id: info for info in store.list()}
    keys = {}
    for key_id, rules in boot.keys.items():
        secret = store.unlock(boot.passphrase, key_id)
        keys[key_id] = _Key(
            secret=secret,
            origin=parse_origin(known[key_id].origin).text,
            dialect=provider_of(known[key_id].provider).dialect,
            rules=rules,
        )
    return keys


def forbid_dumps() -> None:
    """No core file, and on Linux no reading of this process's memory by its user's others."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes

        pr_set_dumpable = 4  # <linux/prctl.h>
        if ctypes.CDLL(None, use_errno=True).prctl(pr_set_dumpable, 0, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) failed")


async def _run(boot: Boot) -> None:
    vault = Vault(unlock(boot), boot.token)
    del boot
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    ready.add_done_callback(lambda port: _say(Ready(port=port.result())))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(vault.serve(ready, stop))
        tasks.create_task(_until_stdin_closes(stop))


async def _until_stdin_closes(stop: asyncio.Event) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    await reader.read()
    transport.close()
    stop.set()


def _say(ready: Ready) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(ready) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """The process; every failure is told on stdout, without a traceback that might hold a key."""
    logging.disable()
    # Ctrl-C reaches every process of a terminal; this one ends when its parent has drained.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forbid_dumps()
        asyncio.run(_run(msgspec.json.decode(sys.stdin.buffer.readline(), type=Boot)))
    except RicochetError as error:
        _fail(error.code, error.message, error.hint, int(error.exit_code))
    except Exception as error:
        # Only the kind: the text of an unforeseen error might quote what it failed on.
        _fail("vault_failed", f"the vault failed: {type(error).__name__}", "", 1)


def _fail(code: str, message: str, hint: str, exit_code: int) -> None:
    _say(Ready(code=code, message=message, hint=hint, exit_code=exit_code))
    sys.exit(exit_code)
