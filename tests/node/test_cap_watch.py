"""A cap that turns calls away is told with its key, its period and its renewal, once."""

import asyncio
import io
import json
from contextlib import aclosing
from pathlib import Path

import pytest

from doubles.upstream import UpstreamDouble
from ricochet_node.alerts import EVENTS
from ricochet_node.cap_watch import CapWatch
from ricochet_node.faults import ProviderFault, fault_of_refusal
from ricochet_node.http_client import HttpClient
from ricochet_node.key_rules import KeyRules
from ricochet_node.keystore import Keystore
from ricochet_node.log import EventLog
from ricochet_node.prices import Price
from ricochet_node.upstreams import Upstreams
from ricochet_node.vault_process import VaultProcess
from ricochet_protocol.conversation import Turn
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import Ask
from ricochet_protocol.money import PricePerMillion, Units

KEY = "sk-test-0123456789abcdef"
NOON = 1_795_348_800.0  # 2026-11-22 12:00 UTC


class Watched:
    def __init__(self) -> None:
        self.now = NOON
        self.stream = io.StringIO()
        self.log = EventLog(self.stream)
        self.caps = CapWatch(lambda: self.now, self.log)

    @property
    def told(self) -> list[tuple[str, str, str]]:
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        assert {line["event"] for line in lines} <= {"cap_reached"}
        return [(line["key"], line["period"], line["renews"]) for line in lines]


def test_it_is_told_once_a_period() -> None:
    watched = Watched()
    for key, code, wait in (
        ("a", "cap_day", 43_200),
        ("a", "cap_day", 43_100),
        ("b", "cap_day", 43_200),
        ("a", "cap_month", 734_400),
        ("a", "rate", 5),
    ):
        watched.caps.hear(key, fault_of_refusal(code, wait))
    assert watched.told == [
        ("a", "day", "2026-11-23T00:00:00Z"),
        ("b", "day", "2026-11-23T00:00:00Z"),
        ("a", "month", "2026-12-01T00:00:00Z"),
    ]
    watched.now += 43_200
    watched.caps.hear("a", fault_of_refusal("cap_day", 86_400))
    assert watched.told[3:] == [("a", "day", "2026-11-24T00:00:00Z")]
    assert EVENTS["cap_reached"] == "cap_reached"


def test_the_vaults_own_refusal_is_heard(tmp_path: Path) -> None:
    price = Price(tokens_in=PricePerMillion(0), tokens_out=PricePerMillion(1_000_000))
    rules = KeyRules(per_day=Units(55), prices={"real": price}, time_zone="UTC")
    turns = (Turn("user", "tell me all of it"),)
    ask = Ask(RequestId("0" * 32), Period(1), ModelId("m"), turns, 50, 60)

    async def scenario() -> None:
        watched = Watched()
        store = Keystore(tmp_path / "keys.json")
        async with UpstreamDouble([KEY]) as double, HttpClient() as client:
            store.add("words", "main", "double", double.base_url, KEY)
            vault = await VaultProcess.start(
                tmp_path / "keys.json", "words", ["main"], {"main": rules}
            )
            upstreams = Upstreams(
                client, vault, store.list(), watched.log, watched.caps, lambda key: ""
            )
            try:
                async with aclosing(upstreams.stream("main", "real", ask)) as pieces:
                    assert [piece async for piece in pieces]
                assert watched.told == []
                with pytest.raises(ProviderFault) as caught:
                    async with aclosing(upstreams.stream("main", "real", ask)) as pieces:
                        await anext(pieces)
                assert (caught.value.refusal, caught.value.unbilled) == ("cap_day", True)
                ((key, period, _),) = watched.told
                assert (key, period) == ("main", "day")
            finally:
                await upstreams.stop()
                await vault.stop()

    asyncio.run(scenario())
