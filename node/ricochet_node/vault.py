"""The vault: a process of its own, and the only one that ever holds a decrypted provider key.

It is an egress proxy on loopback: `/<key id>` followed by one of the provider's routes
(`providers.py`), such as `POST /<key id>/chat/completions`. It adds the credential and forwards to
the origin sealed with that key, nowhere else. Callers show the token that this boot's parent handed
over; it is scoped to the key ids named with it, and each of them to its models and limits
(`limits.py`). Every call that is let in leaves a line in the audit trail. The node itself asks the
same on a second port, in frames on one connection (`vault_door.py`).

It is started as `python -I -S` (see `vault_process.py`), reads its boot line from stdin, reports
its ports on stdout, takes changed rules as further lines, and ends when stdin closes, so it never
outlives its parent.
"""

import asyncio
import hmac
import logging
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, closing
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from ricochet_node import audit_trail, counters, event_loop
from ricochet_node.audit_trail import AuditTrail
from ricochet_node.counters import Counters
from ricochet_node.forward import MOST_SECONDS, Delivery, Forwarder, Route
from ricochet_node.http_request import Request
from ricochet_node.http_server import serving
from ricochet_node.key_rules import KeyRules
from ricochet_node.keystore import Keystore
from ricochet_node.limits import Limits, Ticket
from ricochet_node.origin import parse_origin
from ricochet_node.providers import provider_of
from ricochet_node.vault_door import frames_served
from ricochet_node.vault_request import Call, Refusal, Target, call_untrusted, target_untrusted
from ricochet_protocol.errors import RicochetError
from ricochet_protocol.money import Units

REFUSAL: Final = "X-Vault-Refusal"
"""Header that marks an answer as the vault's own; upstream headers never pass, so it is genuine."""
MAX_REQUEST: Final = 8 * 1024 * 1024
"""Twice the largest message a peer can send: JSON escapes what msgpack does not."""
READ_SECONDS: Final = 30
"""For a request's body, which comes from this machine."""
_MOST_CONTROL: Final = 16 * 1024 * 1024
_HUNG_UP: Final = 499
"""The audit's status of a call whose caller left; nginx has the same."""


class Boot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parent's first line: it travels through a pipe, never in arguments or environment."""

    passphrase: str
    token: str
    keystore: str
    keys: dict[str, KeyRules]


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A later line: the rules of keys from now on; answered with a `Ready` once they hold."""

    keys: dict[str, KeyRules]


class Ready(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The vault's lines: where it listens, or why it cannot.

    `open` are the sealed origins of the keys that hold no secret, by key id.
    """

    port: int = 0
    frames: int = 0
    open: dict[str, str] = {}
    code: str = ""
    message: str = ""
    hint: str = ""
    exit_code: int = 0


class Vault:
    """The proxy; `keys` are the only ones this token opens. `clock` is the time of day."""

    def __init__(
        self,
        keys: Mapping[str, Route],
        rules: Mapping[str, KeyRules],
        token: str,
        limits: Limits,
        trail: AuditTrail,
        clock: Callable[[], float],
        forwarder: Forwarder,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._keys = keys
        self._rules = dict(rules)
        self._token = token
        self._credential = f"Bearer {token}".encode()
        self._limits = limits
        self._trail = trail
        self._clock = clock
        self._forwarder = forwarder
        self._read_seconds = read_seconds
        self._host = ""
        self.port = 0
        self.frames_port = 0

    def change_rules(self, rules: Mapping[str, KeyRules]) -> None:
        """From the next call on; ids that this vault has not unlocked mean nothing to it."""
        self._rules.update({key: rule for key, rule in rules.items() if key in self._keys})

    async def serve(self, ready: asyncio.Future[None], stop: asyncio.Event) -> None:
        """Accept calls on two free ports of loopback until `stop`; `ready` says that they are."""
        most = READ_SECONDS + 2 * MOST_SECONDS
        async with (
            serving(self._handle, "127.0.0.1", 0, most) as self.port,
            frames_served(self._answer, self._token) as self.frames_port,
        ):
            self._host = f"127.0.0.1:{self.port}"
            ready.set_result(None)
            await stop.wait()

    async def _handle(self, request: Request) -> None:
        try:
            self._check_caller(request)
        except Refusal as refusal:
            _refuse(request, refusal)
            return
        await self._answer(request)

    async def _answer(self, request: Request) -> None:
        """Of a caller who has shown the token."""
        try:
            key_id, target = self._aimed(request)
            self._trail.check()
        except Refusal as refusal:
            _refuse(request, refusal)
            return
        rules = self._rules[key_id]
        call = Call()
        try:
            call = call_untrusted(target, await self._read(request), rules)
            ticket = self._limits.admit(key_id, rules, call)
        except Refusal as refusal:
            self._note(key_id, call, Delivery(refusal.status, refusal.code), Units(0), Units(0))
            _refuse(request, refusal)
            return
        await self._call(request, key_id, target, ticket)

    async def _call(self, request: Request, key_id: str, target: Target, ticket: Ticket) -> None:
        delivery = Delivery(_HUNG_UP)
        settled = False

        def settle() -> None:
            nonlocal settled
            if not settled:
                settled = True
                charged = self._limits.finish(ticket, delivery.outcome())
                self._note(key_id, ticket.call, delivery, ticket.debit.amount, charged)

        try:
            await self._secure(ticket, delivery)
            await self._forwarder.forward(
                request, self._keys[key_id], target, ticket.call.body, delivery, settle
            )
        except Refusal as refusal:
            delivery.status, delivery.refusal = refusal.status, refusal.code
            settle()
            _refuse(request, refusal)
        finally:
            settle()

    async def _secure(self, ticket: Ticket, delivery: Delivery) -> None:
        delivery.unbilled = True  # nothing has been sent yet
        await self._limits.secure(ticket)
        delivery.unbilled = False

    def _check_caller(self, request: Request) -> None:
        headers = request.headers
        given = headers.get("authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._credential):
            raise Refusal(403, "token")
        # A page in a browser reaches loopback too; it cannot choose Host and always names itself.
        if headers.get("host") != self._host or "host" in request.doubled or "origin" in headers:
            raise Refusal(403, "host")

    def _aimed(self, request: Request) -> tuple[str, Target]:
        key_id, slash, below = request.target.removeprefix("/").partition("/")
        key = self._keys.get(key_id)
        if key is None or not slash or not request.target.startswith("/"):
            raise Refusal(404, "path")
        return key_id, target_untrusted(key.dialect, request.method, f"/{below}")

    async def _read(self, request: Request) -> bytes:
        body = request.ready()
        if body is None:
            try:
                async with asyncio.timeout(self._read_seconds):
                    body = await _body(request)
            except TimeoutError:
                raise Refusal(408, "slow") from None
        if len(body) > MAX_REQUEST:
            raise Refusal(413, "too_large")
        return body

    def _note(
        self, key_id: str, call: Call, delivery: Delivery, worst: Units, charged: Units
    ) -> None:
        now = _moment(int(self._clock()))
        tokens_in, tokens_out = delivery.tokens or (None, None)
        self._trail.add(
            audit_trail.Line(
                time=now,
                key=key_id,
                model=call.model,
                status=delivery.status,
                refusal=delivery.refusal,
                tokens_in=tokens_in,
                tokens_out=tokens_out,
                worst=worst,
                cost=charged,
            )
        )


@lru_cache(2)
def _moment(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


async def _body(request: Request) -> bytes:
    body = bytearray()
    while data := await request.read():
        body += data
        if len(body) > MAX_REQUEST:
            break
    return bytes(body)


def _refuse(request: Request, refusal: Refusal) -> None:
    headers = {REFUSAL: refusal.code}
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(refusal.retry_after)
    request.answer(refusal.status, b"", headers)


def unlock(boot: Boot) -> dict[str, Route]:
    """The keys the token is scoped to; ConfigurationError when one does not open."""
    opened = Keystore(Path(boot.keystore)).unlock_all(boot.passphrase, tuple(boot.keys))
    return {
        info.id: Route(
            secret=secret,
            origin=parse_origin(info.origin).text,
            dialect=provider_of(info.provider).dialect,
        )
        for info, secret in opened
    }


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
    home = Path(boot.keystore).parent
    keys, rules, token = unlock(boot), boot.keys, boot.token
    del boot
    async with AsyncExitStack() as stack:
        book = stack.enter_context(closing(Counters(home / counters.FILE_NAME)))
        trail = stack.enter_context(closing(AuditTrail(home / audit_trail.FILE_NAME)))
        forwarder = await stack.enter_async_context(Forwarder())
        book.share()
        limits = Limits(book, time.time)
        vault = Vault(keys, rules, token, limits, trail, time.time, forwarder)
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stop = asyncio.Event()
        unsealed = {key: route.origin for key, route in keys.items() if not route.secret}
        ready.add_done_callback(
            lambda _: _say(Ready(port=vault.port, frames=vault.frames_port, open=unsealed))
        )
        event_loop.started()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(vault.serve(ready, stop))
            tasks.create_task(_obey(vault, stop))


async def _obey(vault: Vault, stop: asyncio.Event) -> None:
    """Take what the parent says until it closes the pipe, or dies."""
    reader = asyncio.StreamReader(limit=_MOST_CONTROL)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    while (line := await reader.readline()).endswith(b"\n"):
        vault.change_rules(msgspec.json.decode(line, type=Control).keys)
        _say(Ready(port=vault.port))
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
        event_loop.run(_run(msgspec.json.decode(sys.stdin.buffer.readline(), type=Boot)))
    except RicochetError as error:
        _fail(error.code, error.message, error.hint, int(error.exit_code))
    except Exception as error:
        # Only the kind: the text of an unforeseen error might quote what it failed on.
        _fail("vault_failed", f"the vault failed: {type(error).__name__}", "", 1)


def _fail(code: str, message: str, hint: str, exit_code: int) -> None:
    _say(Ready(code=code, message=message, hint=hint, exit_code=exit_code))
    sys.exit(exit_code)
