"""Attacks on the vault by what shares a machine or a process with its caller: none gets a key."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from vault_bench import BODY, RULES, SECRET, TOKEN, Bench, running, streamed

from doubles.recorder import Recorder
from ricochet_node import isolated
from ricochet_node.counters import Counters
from ricochet_node.key_rules import KeyRules
from ricochet_node.keystore import Keystore
from ricochet_node.vault import REFUSAL
from ricochet_node.vault_process import VaultProcess
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.money import Units

WORDS = "correct horse"
DAY_RULES = KeyRules(models=("m",), prices=RULES.prices, per_month=Units(1_000), time_zone="UTC")


def run(home: Path, scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def inner() -> None:
        async with asyncio.timeout(30), running(home) as bench:
            await scenario(bench)

    asyncio.run(inner())


async def raw(it: Bench, text: str) -> bytes:
    """What the vault answers to these bytes; its connection is closed by either side."""
    reader, writer = await asyncio.open_connection("127.0.0.1", it.vault.port)
    writer.write(text.replace("\n", "\r\n").encode("latin-1"))
    await writer.drain()
    answer = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


def request(it: Bench, line: str, *headers: str) -> str:
    body = json.dumps(BODY)
    host = f"127.0.0.1:{it.vault.port}"
    own = (f"Host: {host}", f"Authorization: Bearer {TOKEN}", f"Content-Length: {len(body)}")
    return "\n".join((line, "Connection: close", *own, *headers, "", body))


TARGETS = (
    "/other/chat/completions",
    "/K/chat/completions",
    "//k/chat/completions",
    "/k//chat/completions",
    "/k/./chat/completions",
    "/k/../k/chat/completions",
    "/other/../k/chat/completions",
    "/%6b/chat/completions",
    "/k/chat%2fcompletions",
    "/k/chat/completions%00",
    "/k/chat/completions/",
    "/k/chat/completions;x",
    "/k\\chat/completions",
    "http://evil.example/k/chat/completions",
    "*",
)


def test_only_the_exact_path_of_an_own_key_is_a_path(tmp_path: Path) -> None:
    async def scenario(it: Bench) -> None:
        assert b" 200 " in await raw(it, request(it, "POST /k/chat/completions HTTP/1.1"))
        for target in TARGETS:
            answer = await raw(it, request(it, f"POST {target} HTTP/1.1"))
            assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400", b"HTTP/1.0 400")), target
        assert [seen.path for seen in it.provider.seen] == ["/chat/completions"]

    run(tmp_path, scenario)


def test_a_callers_headers_never_reach_the_provider(tmp_path: Path) -> None:
    injected = (
        "X-Api-Key: mine", "X-Goog-Api-Key: mine", "Cookie: a=b", "Anthropic-Beta: all",
        "OpenAI-Organization: mine", "X-HTTP-Method-Override: DELETE", "Forwarded: for=evil",
        "Proxy-Authorization: Basic eDp5", "Accept-Encoding: gzip",
    )  # fmt: skip

    async def scenario(it: Bench) -> None:
        await raw(it, request(it, "POST /k/chat/completions HTTP/1.1", *injected))
        (seen,) = it.provider.seen
        assert {name.lower() for name in seen.headers} <= {
            "host", "authorization", "accept", "accept-encoding", "connection", "user-agent",
            "content-type", "content-length", "transfer-encoding",
        }  # fmt: skip
        assert seen.headers["Accept-Encoding"] == "identity"
        assert seen.headers["Authorization"] == f"Bearer {SECRET}"
        assert TOKEN not in str(seen) and "mine" not in str(seen.headers)

    run(tmp_path, scenario)


def test_neither_a_page_nor_a_rebound_name_nor_a_doubled_header_gets_in(tmp_path: Path) -> None:
    line = "POST /k/chat/completions HTTP/1.1"

    async def scenario(it: Bench) -> None:
        host = f"127.0.0.1:{it.vault.port}"
        good = request(it, line)
        for attack in (
            request(it, line, "Origin: https://evil.example"),
            request(it, line, "Origin: null"),
            request(it, line, f"Host: {host}"),
            good.replace(f"Host: {host}", "Host: evil.example"),
            good.replace(f"Host: {host}", f"Host: localhost:{it.vault.port}"),
            good.replace(f"Bearer {TOKEN}", "Bearer guess"),
            good.replace(f"Authorization: Bearer {TOKEN}\n", ""),
            good.replace(TOKEN, f"{TOKEN}, Bearer {TOKEN}"),
            request(it, line, "Transfer-Encoding: chunked"),
            good.replace("POST /k", "OPTIONS /k"),
            good.replace("POST /k", "CONNECT /k"),
        ):
            answer = await raw(it, attack)
            assert answer.split()[1] in (b"400", b"403", b"405"), attack
            assert SECRET.encode() not in answer
            assert b"access-control" not in answer.lower()
        assert it.provider.seen == []

    run(tmp_path, scenario)


def test_a_redirect_is_not_followed_and_costs_nothing(tmp_path: Path) -> None:
    async def scenario(it: Bench) -> None:
        async def elsewhere(request: web.BaseRequest) -> web.StreamResponse:
            return web.Response(status=307, headers={"Location": f"{it.provider.url}/stolen"})

        it.provider.answer = elsewhere
        assert await it.call() == (502, "redirect")
        assert [seen.path for seen in it.provider.seen] == ["/chat/completions"]
        assert it.spent() == 0

    run(tmp_path, scenario)


@contextlib.asynccontextmanager
async def provider_and_keys(home: Path) -> AsyncIterator[Recorder]:
    async with asyncio.timeout(60), Recorder() as provider:
        Keystore(home / "keys.json").add(WORDS, "k", "openai", provider.url, SECRET)
        yield provider


_HOSTILE = """
import asyncio, json, os, sys
from pathlib import Path
import aiohttp
from ricochet_node.vault_process import VaultProcess
head, tail = sys.argv[2].encode(), sys.argv[3].encode()

def holds(data):
    at = data.find(head)
    while at >= 0:
        if data[at + len(head) : at + len(head) + len(tail)] == tail:
            return True
        at = data.find(head, at + 1)
    return False

def readable(path):
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""

def memory():
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split()
        if fields[1].startswith("r") and not fields[-1].startswith("[v"):
            start, end = (int(part, 16) for part in fields[0].split("-"))
            with open("/proc/self/mem", "rb", buffering=0) as memory:
                memory.seek(start)
                try:
                    yield memory.read(end - start)
                except OSError:
                    pass

async def main():
    home = Path(sys.argv[1])
    vault = await VaultProcess.start(home / "keys.json", "correct horse", ["k"])
    async with aiohttp.ClientSession() as client:
        async with client.post(vault.base_url + "/k/chat/completions", headers={
            "Authorization": "Bearer " + vault.token}, json={"model": "m", "messages": []},
        ) as answer:
            await answer.read()
            status = answer.status
    places = {"environment": [readable("/proc/self/environ")]}
    places["vault"] = [readable(f"/proc/{vault.pid}/{name}") for name in ("environ", "cmdline")]
    places["files"] = [readable(path) for path in home.rglob("*") if path.is_file()]
    places["open files"] = [
        readable(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
        if os.path.isfile(f"/proc/self/fd/{fd}")
    ]
    found = [name for name, datas in places.items() if any(map(holds, datas))]
    token = vault.token.encode()
    knows_token = False
    for data in memory():
        found += ["memory"] if holds(data) else []
        knows_token = knows_token or token in data
    await vault.stop()
    print(json.dumps([status, found, knows_token]))

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_hostile_library_finds_no_key_in_its_process(tmp_path: Path) -> None:
    async def echoed(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"your headers": dict(request.headers)})

    async def scenario() -> None:
        async with provider_and_keys(tmp_path) as provider:
            provider.answer = echoed
            # In halves, so that the search does not find itself.
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", _HOSTILE, str(tmp_path), SECRET[:12], SECRET[12:]),
                stdout=subprocess.PIPE,
            )
            out, _ = await process.communicate()
            assert SECRET in str(provider.seen[0].headers)
            assert json.loads(out) == [200, [], True]

    asyncio.run(scenario())


def test_code_that_python_runs_at_its_start_does_not_run_in_the_vault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted, marker = tmp_path / "planted", tmp_path / "ran"
    planted.mkdir()
    code = f"import pathlib; pathlib.Path({str(marker)!r}).touch()\n"
    (planted / "hostile.pth").write_text(code)
    for name in ("sitecustomize.py", "usercustomize.py", "startup.py"):
        (planted / name).write_text(code)
    # The same folder runs its code where it is a site folder: the trap works.
    subprocess.run(
        [sys.executable, "-I", "-c", f"import site; site.addsitedir({str(planted)!r})"], check=True
    )
    assert marker.exists()
    marker.unlink()
    folders = isolated._import_path()
    monkeypatch.setattr(isolated, "_import_path", lambda: [*folders, str(planted)])
    monkeypatch.setenv("PYTHONPATH", str(planted))
    monkeypatch.setenv("PYTHONSTARTUP", str(planted / "startup.py"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")

    async def scenario() -> None:
        async with provider_and_keys(tmp_path):
            vault = await VaultProcess.start(tmp_path / "keys.json", WORDS, ["k"])
            await vault.stop()

    asyncio.run(scenario())
    assert not marker.exists()


def test_a_vault_killed_in_mid_call_has_counted_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with provider_and_keys(tmp_path) as provider, aiohttp.ClientSession() as client:
            begun = asyncio.Event()

            async def stall(request: web.BaseRequest) -> web.StreamResponse:
                begun.set()
                await asyncio.Event().wait()
                raise AssertionError

            async def call(vault: VaultProcess) -> str:
                async with client.post(
                    f"{vault.base_url}/k/chat/completions",
                    json=BODY | {"max_tokens": 300},
                    headers={"Authorization": f"Bearer {vault.token}"},
                ) as answer:
                    await answer.read()
                    return answer.headers.get(REFUSAL, "")

            rules = {"k": DAY_RULES}
            provider.answer = stall
            first = await VaultProcess.start(tmp_path / "keys.json", WORDS, ["k"], rules)
            under_way = asyncio.create_task(call(first))
            await begun.wait()
            os.kill(first.pid, signal.SIGKILL)
            with pytest.raises(aiohttp.ClientError):
                await under_way
            await first.exited()
            with pytest.raises(LocalFault) as caught:
                await first.change_rules(rules)
            assert caught.value.code == "vault_ended"
            await first.stop()

            provider.answer = streamed()
            second = await VaultProcess.start(tmp_path / "keys.json", WORDS, ["k"], rules)
            assert await call(second) == "cap_month"
            more = KeyRules(models=("m",), prices=RULES.prices, per_month=Units(10_000))
            await second.change_rules({"k": more})
            assert await call(second) == ""
            await second.stop()
            assert len(provider.seen) == 2

    asyncio.run(scenario())
    counters = Counters(tmp_path / "keys.db")
    rows = counters._db.execute("SELECT amount, calls FROM spent WHERE length(period) = 7")
    assert [(amount > 1_200, calls) for amount, calls in rows] == [(True, 2)]
    counters.close()
