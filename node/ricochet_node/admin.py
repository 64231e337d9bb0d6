"""How the owner's commands talk to the running node: HTTP on loopback, with a random token.

Address and token are in `node.run.json`, readable by the owner only and removed at the end; what a
killed node left there names a port nobody answers on. The client half, the functions at the top,
imports nothing heavy.
"""

import asyncio
import hmac
import http.client
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from ricochet_protocol.errors import (
    BudgetError,
    ConfigurationError,
    ExitCode,
    LocalFault,
    RicochetError,
)
from ricochet_protocol.ids import Address, PeerId
from ricochet_settlement.private_file import read_private, write_private

if TYPE_CHECKING:
    from aiohttp import web

FILE_NAME: Final = "node.run.json"
_SETTLE_SECONDS: Final = 300
"""A claim waits for the chain to take several transactions."""
_STATUS_SECONDS: Final = 10
_KINDS: Final[dict[Any, type[RicochetError]]] = {
    ExitCode.CONFIGURATION: ConfigurationError,
    ExitCode.BUDGET: BudgetError,
}
_HINT: Final = "start it with `ricochet node start`"


class RunFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `node.run.json` holds."""

    pid: int
    peer: PeerId
    operator: Address
    addresses: tuple[str, ...]
    url: str
    token: str


def is_running(home: Path) -> bool:
    """Whether a node of this home answers."""
    try:
        _request(home, "GET", "/status", _STATUS_SECONDS)
    except RicochetError as error:
        return error.code != "node_not_running"
    return True


async def status(home: Path) -> dict[str, Any]:
    """What the node of this home does now; LocalFault `node_not_running` when none runs.

    `{pid, peer, operator, addresses, draining, models[{model, offered, calls, tokens_in,
    tokens_out, earned}], keys[{key, state, told, seconds, open_calls, tokens_left}], earned,
    unclaimed, open_calls, peers_known, peers_connected, identity_used_at, reached, reached_at,
    seen_at, relays, listens}`; amounts in units, the models' before commission. A key's `state` is
    one of `key_state.State`, or its owner's limit that closes it; `told` says it for a person,
    `seconds` until it may be asked (null: only its owner knows). `reached` tells whether others can
    dial the node (null: nobody has tried), at `reached_at`; they see it come from the host
    `seen_at`, and reach it over the peers `relays`. `addresses` are those that it gives to others,
    `listens` those it can be dialled at if nothing is in the way.
    """
    return await asyncio.to_thread(_request, home, "GET", "/status", _STATUS_SECONDS)


async def funds(home: Path) -> dict[str, Any]:
    """Where every unit is that was ever served; the fields of `funds.Funds`.

    LocalFault `node_not_running`, or the error of the node's own attempt.
    """
    return await asyncio.to_thread(_request, home, "GET", "/funds", _SETTLE_SECONDS)


async def claim(home: Path) -> dict[str, Any]:
    """Claim all vouchers now: `{claimed}` in units, before commission; errors as for `funds`."""
    return await asyncio.to_thread(_request, home, "POST", "/claim", _SETTLE_SECONDS)


async def withdraw(home: Path) -> dict[str, Any]:
    """Withdraw what was claimed: `{withdrawn}` in units; errors as for `funds`."""
    return await asyncio.to_thread(_request, home, "POST", "/withdraw", _SETTLE_SECONDS)


async def settle(home: Path) -> dict[str, Any]:
    """Claim all vouchers and withdraw now: `{claimed, withdrawn}`; errors as for `funds`."""
    return await asyncio.to_thread(_request, home, "POST", "/settle", _SETTLE_SECONDS)


async def drain(home: Path) -> dict[str, Any]:
    """Admit no more calls; `{open_calls}` that may still end. Errors as for `status`."""
    return await asyncio.to_thread(_request, home, "POST", "/drain", _STATUS_SECONDS)


async def resume(home: Path) -> dict[str, Any]:
    """Admit calls again after `drain`: `{models}` on offer. Errors as for `status`."""
    return await asyncio.to_thread(_request, home, "POST", "/resume", _STATUS_SECONDS)


async def stop(home: Path) -> dict[str, Any]:
    """Begin to stop in order: `{pid, open_calls}`. Errors as for `status`."""
    return await asyncio.to_thread(_request, home, "POST", "/stop", _STATUS_SECONDS)


def _request(home: Path, method: str, path: str, seconds: float) -> dict[str, Any]:
    run = _run_file(home)
    # http.client asks no proxy and follows no redirect.
    connection = http.client.HTTPConnection(urlsplit(run.url).netloc, timeout=seconds)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {run.token}"})
        response = connection.getresponse()
        body = msgspec.json.decode(response.read(), type=dict[str, Any])
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        raise LocalFault("node_not_running", f"the node of {home} does not answer", _HINT) from None
    finally:
        connection.close()
    if response.status != 200:
        raise _error(body)
    return body


def _run_file(home: Path) -> RunFile:
    path = home / FILE_NAME
    if not path.exists():
        raise LocalFault("node_not_running", f"no node is running in {home}", _HINT)
    try:
        return msgspec.json.decode(read_private(path), type=RunFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise LocalFault(
            "node_not_running", f"{path} is damaged", f"delete it and {_HINT}"
        ) from None


def _error(body: dict[str, Any]) -> RicochetError:
    code, message, hint = (str(body.get(name, "")) for name in ("code", "message", "hint"))
    kind = _KINDS.get(body.get("exit_code"), LocalFault)
    return kind(code or "node_failed", message or "the node failed", hint)


class Answers(Protocol):
    """Who answers: a `Node`. Each method gives what the function of its name above documents."""

    def status(self) -> dict[str, Any]: ...

    async def funds(self) -> dict[str, Any]: ...

    async def claim(self) -> dict[str, Any]: ...

    async def withdraw(self) -> dict[str, Any]: ...

    async def settle(self) -> dict[str, Any]: ...

    async def drain(self) -> dict[str, Any]: ...

    async def resume(self) -> dict[str, Any]: ...

    async def stop(self) -> dict[str, Any]: ...


class Admin:
    """The server's half."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._token = secrets.token_urlsafe(32)

    @asynccontextmanager
    async def running(
        self, home: Path, peer: PeerId, operator: Address, addresses: tuple[str, ...]
    ) -> AsyncIterator[None]:
        """Answer inside the context, and say in the run file where."""
        from aiohttp import web

        from ricochet_node.plain_server import PlainServer

        server = PlainServer(self._handle, _refuse)
        runner = web.ServerRunner(server, shutdown_timeout=1)
        await runner.setup()
        path = home / FILE_NAME
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            run = RunFile(
                pid=os.getpid(),
                peer=peer,
                operator=operator,
                addresses=addresses,
                url=f"http://127.0.0.1:{runner.addresses[0][1]}",
                token=self._token,
            )
            write_private(path, msgspec.json.encode(run) + b"\n")
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
        finally:
            await runner.cleanup()

    async def _handle(self, request: "web.BaseRequest") -> "web.Response":
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return _answer(403, {"code": "forbidden", "message": "wrong token"})
        # A page in a browser can reach loopback; it always names itself.
        if "Origin" in request.headers:
            return _answer(403, {"code": "forbidden", "message": "not for browsers"})
        answers = self._answers
        changes: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
            "/claim": answers.claim,
            "/withdraw": answers.withdraw,
            "/settle": answers.settle,
            "/drain": answers.drain,
            "/resume": answers.resume,
            "/stop": answers.stop,
        }
        try:
            match request.method, request.path:
                case "GET", "/status":
                    return _answer(200, answers.status())
                case "GET", "/funds":
                    return _answer(200, await answers.funds())
                case "POST", path if path in changes:
                    return _answer(200, await changes[path]())
                case _:
                    return _answer(404, {"code": "no_such_page", "message": "not found"})
        except RicochetError as error:
            return _answer(
                500,
                {
                    "code": error.code,
                    "message": error.message,
                    "hint": error.hint,
                    "exit_code": int(error.exit_code),
                },
            )


def _refuse(status: int, message: str) -> "web.Response":
    return _answer(status, {"code": "bad_http", "message": message})


def _answer(status: int, body: dict[str, Any]) -> "web.Response":
    from aiohttp import web

    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )
