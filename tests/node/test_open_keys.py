"""Keys without a secret are called without the vault, unless there is something to enforce."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from doubles.recorder import Answer, Recorder
from doubles.upstream import UpstreamDouble
from ricochet_node.audit_trail import FILE_NAME as AUDIT
from ricochet_node.counters import Counters
from ricochet_node.direct import DirectUpstream
from ricochet_node.faults import ProviderFault, Reason
from ricochet_node.http_client import HttpClient
from ricochet_node.key_room import VaultRooms
from ricochet_node.key_rules import Hours, KeyRules
from ricochet_node.keystore import Keystore
from ricochet_node.open_keys import OpenKeys
from ricochet_node.upstream import Usage
from ricochet_node.vault import REFUSAL
from ricochet_node.vault_process import VaultProcess
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import Ask, Chunk, Turn
from ricochet_protocol.money import Units

ASK = Ask(RequestId("0" * 32), Period(1), ModelId("m"), (Turn("user", "say it"),), 50, 60)
FREE = KeyRules(models=("real",))
SECRET = "sk-test-0123456789abcdef"


@asynccontextmanager
async def running(home: Path, url: str) -> AsyncIterator[tuple[OpenKeys, DirectUpstream, Counters]]:
    store = Keystore(home / "keys.json")
    store.add("words", "open", "local", url, "")
    store.add("words", "sealed", "openai-compatible", url, SECRET)
    rules = {"open": FREE, "sealed": FREE}
    vault = await VaultProcess.start(home / "keys.json", "words", ["open", "sealed"], rules)
    try:
        async with HttpClient() as client:
            with closing(Counters(home / "keys.db")) as counters:
                rooms = VaultRooms(home / "keys.db", rules, time.time)
                keys = OpenKeys(vault, rooms)
                upstream = DirectUpstream(client, vault.link, keys.origin)
                yield keys, upstream, counters
                rooms.close()
    finally:
        await vault.stop()


async def collect(upstream: DirectUpstream, key: str, *, whole: bool = False) -> str:
    text = ""
    if whole:
        answer = await upstream.whole(key, "real", ASK)
        (chunk,) = answer.pieces
        assert isinstance(chunk, Chunk)
        return f"{chunk.text} [{answer.usage.tokens}]"
    async with aclosing(upstream.stream(key, "real", ASK)) as pieces:
        async for piece in pieces:
            assert isinstance(piece, Chunk | Usage)
            text += piece.text if isinstance(piece, Chunk) else f" [{piece.tokens}]"
    return text


def test_only_what_needs_no_vault_goes_straight(tmp_path: Path) -> None:
    def audited() -> int:
        return len((tmp_path / AUDIT).read_text().splitlines())

    async def scenario() -> None:
        async with UpstreamDouble(["", SECRET]) as double:
            bench = running(tmp_path, double.base_url)
            async with bench as (keys, upstream, counters):
                assert keys.origin("open") == double.base_url
                assert keys.origin("sealed") == ""
                streamed = await collect(upstream, "open")
                assert await collect(upstream, "open", whole=True) == streamed
                assert audited() == 0
                assert await collect(upstream, "sealed", whole=True) == streamed
                assert audited() == 1
                with counters.change():
                    counters.disable("open")
                with pytest.raises(ProviderFault) as caught:
                    await collect(upstream, "open")
                assert caught.value.reason is Reason.LIMIT and audited() == 2
                with counters.change():
                    counters.enable("open")
                rules = {"open": msgspec.structs.replace(FREE, rpm=1), "sealed": FREE}
                await rooms_vault(keys, rules)
                await collect(upstream, "open")
                with pytest.raises(ProviderFault):
                    await collect(upstream, "open")
                assert audited() == 4

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "limit",
    [
        {"rpm": 1},
        {"tpm": 1},
        {"concurrency": 1},
        {"per_day": Units(0)},
        {"per_month": Units(1)},
        {"hours": Hours(0, 60)},
    ],
)
def test_every_limit_is_one(limit: dict[str, object]) -> None:
    assert not FREE.is_limited
    assert msgspec.structs.replace(FREE, **limit).is_limited


async def rooms_vault(keys: OpenKeys, rules: dict[str, KeyRules]) -> None:
    """Change the rules in the order of `app`: the vault first."""
    await keys._vault.change_rules(rules)
    keys._rooms.rules = rules


def answering(status: int, headers: dict[str, str]) -> Answer:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, headers=headers, body=b"{}")

    return answer


REFUSED: tuple[tuple[int, dict[str, str]], ...] = (
    (302, {"Location": "http://127.0.0.1:9/"}),
    (200, {"Content-Encoding": "identity2"}),
    (200, {REFUSAL: "cap"}),
)
"""The last one: a provider cannot speak in the vault's name."""


def test_what_the_vault_would_refuse_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        stack = AsyncExitStack()
        recorder = await stack.enter_async_context(Recorder())
        async with stack, running(tmp_path, recorder.url) as bench:
            for status, headers in REFUSED:
                recorder.answer = answering(status, headers)
                with pytest.raises(ProviderFault) as caught:
                    await collect(bench[1], "open")
                assert caught.value.reason in (Reason.FAILED, Reason.BROKEN)
            assert len(recorder.seen) == len(REFUSED)
            assert "Authorization" not in recorder.seen[0].headers
            await stack.aclose()
            # In this order, so that the node has heard of the end of the connection that it keeps.
            for key in ("sealed", "open"):
                with pytest.raises(ProviderFault) as caught:
                    await collect(bench[1], key)
                # Nothing was sent, so nothing is billed.
                assert (caught.value.refusal, caught.value.unbilled) == ("unreachable", True)

    asyncio.run(scenario())
