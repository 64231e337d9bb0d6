"""Edits of node.yaml while the node runs: what takes effect, what waits, what changes nothing."""

import asyncio
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from node_bench import SUBSCRIBER, Bench, config, offer, run

from ricochet_node import config as node_config
from ricochet_node.config import NodeConfig
from ricochet_node.guests import Guests
from ricochet_node.key_rules import KeyRules
from ricochet_node.live_config import LiveConfig
from ricochet_node.log import EventLog
from ricochet_protocol.errors import LocalFault, RemoteCode, RemoteFault

FIRST = """
offers:
  - {model: m, upstream_model: real, key: main, context: 9, price_in: "1", price_out: "1"}
keys:
  main: {rpm: 60}
"""


class Vault:
    """Notes the rules it is given; gone when it is told so."""

    def __init__(self) -> None:
        self.rules: list[dict[str, KeyRules]] = []
        self.gone = False

    async def change_rules(self, rules: dict[str, KeyRules], /) -> None:
        if self.gone:
            raise LocalFault("vault_ended", "gone", "")
        self.rules.append(rules)


class Scene:
    """A home whose file changes under a node that began with `first`."""

    def __init__(self, home: Path, first: str = FIRST) -> None:
        self.path = home / node_config.FILE_NAME
        self.path.write_text(first)
        self.vault, self.text = Vault(), StringIO()
        self.applied: list[NodeConfig] = []
        self.live = LiveConfig(
            home,
            node_config.load(home),
            lambda: node_config.load(home),
            self.vault,
            self.applied.append,
            EventLog(self.text),
        )

    def edit(self, text: str) -> None:
        self.path.unlink(missing_ok=True)
        self.path.write_text(text)
        asyncio.run(self.live.look())

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.getvalue().splitlines()]


def test_an_unchanged_file_changes_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    asyncio.run(scene.live.look())
    scene.edit(FIRST + "# a comment\n")
    assert (scene.applied, scene.vault.rules, scene.events()) == ([], [], [])


def test_limits_prices_slots_and_region_take_effect(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    changed = FIRST.replace("60", "6000").replace('price_in: "1"', 'price_in: "2", slots: 4')
    scene.edit(changed + "region: eu\n")
    (new,) = scene.applied
    assert (new.offers[0].shown.price_in, new.offers[0].shown.slots) == (2_000_000, 4)
    assert (new.region, scene.vault.rules[-1]["main"].rpm) == ("eu", 6000)
    (event,) = scene.events()
    assert (event["event"], event["fields"]) == ("config_changed", "offers, limits, region")


def test_the_vault_knows_old_and_new_models_while_offers_change(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.edit(FIRST.replace("real", "other"))
    assert [rules["main"].models for rules in scene.vault.rules] == [("other", "real"), ("other",)]


def test_a_mistake_changes_nothing_and_is_told(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.edit(FIRST.replace("60", "wrong"))
    scene.path.unlink()
    asyncio.run(scene.live.look())
    assert (scene.applied, scene.vault.rules) == ([], [])
    assert [event["event"] for event in scene.events()] == ["config_refused"] * 2
    assert "rpm" in scene.events()[0]["reason"] and scene.events()[0]["hint"]


def test_a_vault_that_has_ended_is_told_to_the_caller(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.vault.gone = True
    with pytest.raises(LocalFault):
        scene.edit(FIRST.replace("60", "7"))
    assert scene.applied == []


def test_keys_that_the_vault_has_not_unlocked_wait_for_a_start(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    sources = "sources: [{key: main, upstream_model: real}, {key: late, upstream_model: x}]"
    both = FIRST.replace("upstream_model: real, key: main", sources).replace("keys:", (
        '  - {model: n, upstream_model: y, key: late, context: 9, price_in: "1", price_out: "1"}\n'
        "keys:"
    ))  # fmt: skip
    scene.edit(both + "region: eu\n")
    (new,) = scene.applied
    assert [(one.model, one.keys) for one in new.offers] == [("m", ("main",))]
    assert set(scene.vault.rules[-1]) == {"main"}
    waiting = next(event for event in scene.events() if event["event"] == "restart_needed")
    assert waiting["fields"] == "key late" and "ricochet node start" in waiting["hint"]


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('claim: {minimum: "2.00"}', "claim"),
        ('listen: ["/ip4/127.0.0.1/tcp/4001"]', "listen"),
        ('door: "127.0.0.1:8788"', "door"),
        ('credit_cap: "2"', "credit_cap"),
        ("monitoring: {keep_days: 3}", "monitoring"),
        ("relay: {offer: false}", "relay"),
        (f'private: ["{SUBSCRIBER}"]', "private"),
    ],
)
def test_what_needs_a_restart_is_said_once(tmp_path: Path, line: str, field: str) -> None:
    scene = Scene(tmp_path)
    scene.edit(f"{FIRST}{line}\n")
    scene.edit(f"{FIRST}{line}\n# again\n")
    assert scene.applied == []
    (event,) = scene.events()
    assert (event["event"], event["fields"]) == ("restart_needed", field)


def test_consent_to_keep_what_was_said_is_given_and_withdrawn_at_once(tmp_path: Path) -> None:
    agreed = "monitoring: {content: true, keep_days: 90}\n"
    scene = Scene(tmp_path, FIRST + agreed)
    scene.edit(FIRST + agreed.replace("true", "false"))
    scene.edit(FIRST + agreed)
    assert [new.monitoring.content for new in scene.applied] == [False, True]
    assert {(one["event"], one["fields"]) for one in scene.events()} == {
        ("config_changed", "monitoring.content")
    }


def test_who_is_denied_while_the_node_runs_is_let_in_no_more(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        await bench.client.ask()
        bench.node.change(config(guests=Guests(deny=frozenset({SUBSCRIBER}))))
        for request in (bench.client.request(), None):
            with pytest.raises(RemoteFault) as caught:
                await (bench.client.ask(request) if request else bench.client.hello())
            assert caught.value.code in (RemoteCode.NO_SESSION, RemoteCode.REFUSED)
        bench.node.change(config())
        await bench.client.hello()
        await bench.client.ask()

    run(tmp_path, scenario)


def test_an_offer_that_is_taken_out_goes_and_comes_back(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        bench.node.change(config(offers=(offer(id="n"),)))
        with pytest.raises(RemoteFault) as caught:
            await bench.client.ask()
        assert caught.value.code == RemoteCode.NO_MODEL
        assert [one.id for one in bench.supply.capacity.shown()] == ["n"]
        bench.node.change(config())
        await bench.client.ask()

    run(tmp_path, scenario)
