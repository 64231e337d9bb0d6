"""The vault against a real provider double: what passes, what is refused, and how it ends."""

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from doubles.upstream import UpstreamDouble
from ricochet_node.keystore import Keystore
from ricochet_node.vault import REFUSAL
from ricochet_node.vault_process import VaultProcess
from ricochet_protocol.errors import ConfigurationError, UsageError

WORDS = "correct horse"
KEY = "sk-test-0123456789abcdef"
OTHER = "sk-other-0123456789abcdef"
BODY = {
    "model": "m",
    "messages": [{"role": "user", "content": "tell me"}],
    "max_tokens": 50,
    "stream": True,
}


class Bench:
    """A running vault for key `main` (not for `other`), its provider, and a client."""

    def __init__(
        self, upstream: UpstreamDouble, vault: VaultProcess, client: aiohttp.ClientSession
    ) -> None:
        self.upstream, self.vault, self.client = upstream, vault, client

    async def post(
        self, path: str = "/main/chat/completions", method: str = "POST", **headers: str
    ) -> tuple[int, str, str]:
        """Status, the vault's refusal, and text."""
        sent = {"Authorization": f"Bearer {self.vault.token}", **headers}
        async with self.client.request(
            method, self.vault.base_url + path, json=BODY, headers=sent, allow_redirects=False
        ) as answer:
            return answer.status, answer.headers.get(REFUSAL, ""), await answer.text()


@contextlib.asynccontextmanager
async def running(home: Path) -> AsyncIterator[Bench]:
    async with UpstreamDouble([KEY, OTHER]) as upstream, aiohttp.ClientSession() as client:
        store = Keystore(home / "keys.json")
        store.add(WORDS, "main", "double", upstream.base_url, KEY)
        store.add(WORDS, "other", "double", upstream.base_url, OTHER)
        store.add(WORDS, "gone", "double", "http://127.0.0.1:9/v1", KEY)
        vault = await VaultProcess.start(home / "keys.json", WORDS, ["main", "gone"])
        try:
            yield Bench(upstream, vault, client)
        finally:
            await vault.stop()


Scenario = Callable[[Bench], Awaitable[None]]
With = Callable[[Scenario], None]


@pytest.fixture(scope="module")
def with_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[With]:
    """Runs scenarios one after the other with one vault: starting one costs 0.6 s."""
    with asyncio.Runner() as runner:
        context = running(tmp_path_factory.mktemp("vault"))
        bench = runner.run(context.__aenter__())

        def with_bench(scenario: Scenario) -> None:
            bench.upstream.reset()
            runner.run(scenario(bench))  # type: ignore[arg-type] # an async function's awaitable

        yield with_bench
        runner.run(context.__aexit__(None, None, None))


def test_it_adds_the_key_and_rebuilds_headers(with_bench: With) -> None:
    async def scenario(it: Bench) -> None:
        status, refusal, text = await it.post(Cookie="a=b", **{"X-Mine": "1"})
        assert (status, refusal) == (200, "")
        assert text.endswith("data: [DONE]\n\n")
        (seen,) = it.upstream.headers
        assert seen["Authorization"] == f"Bearer {KEY}"
        assert "Connection" not in seen, "it is kept for the next call"
        assert "Cookie" not in seen and "X-Mine" not in seen
        assert it.upstream.requests == [BODY]

    with_bench(scenario)


def test_it_refuses_whatever_is_not_its_one_door(with_bench: With) -> None:
    async def scenario(it: Bench) -> None:
        async def refused(*arguments: Any, **headers: str) -> tuple[int, str]:
            status, refusal, text = await it.post(*arguments, **headers)
            assert text == ""
            return status, refusal

        assert await refused(Authorization="Bearer wrong") == (403, "token")
        assert await refused(Authorization="Bearer \xff") == (403, "token")
        assert await refused(Authorization="") == (403, "token")
        assert await refused(Host="localhost") == (403, "host")
        assert await refused(Host="evil.example") == (403, "host")
        assert await refused(Origin="null") == (403, "host")
        assert await refused("/main/chat/completions", "GET") == (405, "method")
        assert await refused("/other/chat/completions") == (404, "path")
        assert await refused("/nothing/chat/completions") == (404, "path")
        assert await refused("/main/models") == (405, "method")
        assert await refused("/main/files") == (404, "path")
        assert await refused("/main/chat/completions?x=1") == (404, "path")
        assert await refused("/main/../other/chat/completions") == (404, "path")
        assert it.upstream.counts.as_json()["total"] == 0

    with_bench(scenario)


def test_it_follows_no_redirect(with_bench: With) -> None:
    async def scenario(it: Bench) -> None:
        it.upstream.fault("redirect")
        assert await it.post() == (502, "redirect", "")

    with_bench(scenario)


def test_an_upstreams_refusal_passes_without_its_headers(with_bench: With) -> None:
    async def scenario(it: Bench) -> None:
        it.upstream.fault("429")
        status, refusal, text = await it.post()
        assert (status, refusal) == (429, "")
        assert json.loads(text)["error"]["code"] == "rate_limit_exceeded"

    with_bench(scenario)


def test_the_key_never_comes_back(with_bench: With) -> None:
    async def scenario(it: Bench) -> None:
        it.upstream.fault("echo_key")
        status, _, text = await it.post()
        assert status == 200
        assert "[redacted]" in text
        assert KEY not in text

    with_bench(scenario)


def test_a_cut_stream_is_seen_as_cut(with_bench: With) -> None:
    async def scenario(it: Bench) -> None:
        it.upstream.fault("cut")
        with pytest.raises(aiohttp.ClientError):
            await it.post()

    with_bench(scenario)


def test_an_endless_answer_is_cut(with_bench: With) -> None:
    async def scenario(it: Bench) -> None:
        it.upstream.fault("endless")
        with pytest.raises(aiohttp.ClientError):
            await it.post()
        await it.upstream.until(lambda counts: counts.open == 0)

    with_bench(scenario)


def test_an_oversized_request_is_refused(with_bench: With) -> None:
    async def scenario(it: Bench) -> None:
        async with it.client.post(
            f"{it.vault.base_url}/main/chat/completions",
            data=io.BytesIO(b"x" * (9 * 1024 * 1024)),
            headers={"Authorization": f"Bearer {it.vault.token}"},
        ) as answer:
            assert (answer.status, answer.headers[REFUSAL]) == (413, "too_large")

    with_bench(scenario)


def test_hanging_up_ends_the_upstream_call(with_bench: With) -> None:
    async def scenario(it: Bench) -> None:
        it.upstream.fault("stall")
        call = asyncio.create_task(it.post())
        await it.upstream.until(lambda counts: counts.open == 1)
        call.cancel()
        await it.upstream.until(lambda counts: counts.abandoned == 1)

    with_bench(scenario)


def test_a_provider_that_is_not_there_is_named_so(with_bench: With) -> None:
    async def scenario(it: Bench) -> None:
        assert await it.post("/gone/chat/completions") == (502, "unreachable", "")

    with_bench(scenario)


@pytest.mark.parametrize(
    ("words", "keys", "code", "kind"),
    [
        ("wrong", ["main"], "wrong_passphrase", ConfigurationError),
        (WORDS, ["missing"], "no_key", ConfigurationError),
        ("", ["main"], "empty_passphrase", UsageError),
    ],
)
def test_what_keeps_it_from_starting_is_told(
    tmp_path: Path, words: str, keys: list[str], code: str, kind: type[Exception]
) -> None:
    Keystore(tmp_path / "keys.json").add(WORDS, "main", "double", "http://127.0.0.1:9/v1", KEY)

    async def scenario() -> None:
        with pytest.raises(kind) as caught:
            await VaultProcess.start(tmp_path / "keys.json", words, keys)
        assert caught.value.code == code  # type: ignore[attr-defined] # both kinds have a code
        assert KEY not in str(caught.value)

    asyncio.run(scenario())


def _told(pid: int) -> bytes:
    process = Path(f"/proc/{pid}")
    return (process / "cmdline").read_bytes() + (process / "environ").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_secret_in_its_arguments_or_environment(with_bench: With) -> None:
    async def scenario(it: Bench) -> None:
        told = _told(it.vault.pid)
        for secret in (WORDS, KEY, it.vault.token):
            assert secret.encode() not in told
        assert b"-I\0-S\0" in told

    with_bench(scenario)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_it_cannot_be_dumped() -> None:
    code = (
        "import ctypes, resource; from ricochet_node.vault import forbid_dumps; forbid_dumps();"
        "assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0;"
        "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


_PARENT = """
import asyncio, sys
from pathlib import Path
from ricochet_node.vault_process import VaultProcess
async def main():
    vault = await VaultProcess.start(Path(sys.argv[1]), "correct horse", ["main"])
    print(vault.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_it_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    Keystore(tmp_path / "keys.json").add(WORDS, "main", "double", "http://127.0.0.1:9/v1", KEY)
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path / "keys.json")], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    vault = int(parent.stdout.readline())
    descriptor = os.pidfd_open(vault)
    try:
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)

        async def ended() -> None:
            gone = asyncio.Event()
            asyncio.get_running_loop().add_reader(descriptor, gone.set)
            async with asyncio.timeout(10):
                await gone.wait()

        asyncio.run(ended())
    finally:
        os.close(descriptor)
        parent.stdout.close()
