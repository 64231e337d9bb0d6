import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from orchestrator_stage import MAPPED, Stage, numbered, on, play

from ricochet_orchestrator.breaker import State
from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.offers import OFFER_WAIT
from ricochet_orchestrator.peer_reports import PeerRow, RouteRow, explain, remembered, survey
from ricochet_orchestrator.progress import OffersAwaited
from ricochet_orchestrator.route import Need
from ricochet_orchestrator.routing import RoutingSettings
from ricochet_orchestrator.setting import Setting
from ricochet_orchestrator.store import Store
from ricochet_orchestrator.terms import KNOWN_WAIT, SILENT
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.ids import ModelId
from ricochet_protocol.money import PricePerMillion
from twins.scripted_node import MODEL, OFFER, Fault

T = TypeVar("T")
NEED = Need(1000, 60)
DEAR = msgspec.structs.replace(OFFER, price_in=PricePerMillion(10**6))
NARROW = msgspec.structs.replace(OFFER, context=1024)


def look(stage: Stage, what: Callable[[Setting], Awaitable[T]]) -> T:
    async def scene() -> T:
        async with stage.setting() as setting:
            return await what(setting)

    return on(stage, scene)


def explained(stage: Stage, need: Need = NEED) -> tuple[RouteRow, ...]:
    return look(stage, lambda setting: explain(setting, MODEL, need))


def test_everybody_who_offers_the_model_is_explained(tmp_path: Path) -> None:
    stage = Stage(tmp_path, routing=RoutingSettings(max_price_in=PricePerMillion(500_000)))
    good, dear, narrow = stage.node(0), stage.node(1, offers=(DEAR,)), stage.node(2)
    narrow.offers = (NARROW,)
    rows = explained(stage)
    assert [(row.peer, row.reason) for row in rows[:1]] == [(good.peer, "")]
    assert {row.peer: row.reason for row in rows[1:]} == {
        dear.peer: "price_in",
        narrow.peer: "window",
    }
    assert rows[0].parts.cost == 1000 * 0.1 + 36 * 0.3 // 1 + 1
    assert rows[0].limit == 1, "a stranger gets one call at a time"
    assert stage.calls == 0 and stage.settlement.transactions == 0


def test_what_a_run_has_learnt_is_shown(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    slow, failing = stage.node(0, think=4.0), stage.node(1)
    failing.always = Fault.PROVIDER_FAILS
    assert play(stage, numbered(3)).status is RunStatus.COMPLETED
    rows = {row.peer: row for row in explained(stage)}
    assert rows[slow.peer].parts.first_token > 2
    assert rows[slow.peer].opinion.calls == 4
    assert rows[failing.peer].parts.success < 1
    assert rows[failing.peer].opinion.failures == rows[failing.peer].opinion.calls > 0
    store = Store(tmp_path / "runs.db")
    offline = {row.peer: row for row in remembered(store)}
    store.close()
    assert not offline[slow.peer].seen
    assert offline[failing.peer].breaker.state is not State.CLOSED


def test_peers_are_listed_with_what_they_offer_and_whether_they_count(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    known, stranger = stage.node(0, region="eu"), stage.node(1)
    play(stage, numbered(1))
    stage.settlement._nodes.pop(stranger.operator)
    rows: dict[str, PeerRow] = {row.peer: row for row in look(stage, survey)}
    assert set(rows) == {known.peer, stranger.peer}
    assert (rows[known.peer].seen, rows[known.peer].registered) == (True, True)
    assert rows[known.peer].region == "eu"
    assert rows[known.peer].offers == (OFFER,)
    assert not rows[stranger.peer].registered


def test_settings_leave_peers_out_of_runs(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.node(0, region="us")
    chosen = stage.node(1, region="eu", offers=(DEAR,))
    stage.routing = RoutingSettings(regions=("eu",))
    assert play(stage, numbered(3)).status is RunStatus.COMPLETED
    assert len(chosen.calls) == stage.calls == 4


def test_settings_that_leave_nobody_are_told_with_the_commonest_reason(tmp_path: Path) -> None:
    stage = Stage(tmp_path, routing=RoutingSettings(regions=("eu",)))
    for number, region in enumerate(("us", "us", "eu")):
        node = stage.node(number, region=region)
    stage.routing = RoutingSettings(regions=("eu",), deny=(node.peer,))

    async def scene() -> float:
        begin = asyncio.get_running_loop().time()
        with pytest.raises(LocalFault) as caught:
            await stage.play(numbered(1))
        assert caught.value.code == "no_peer"
        assert caught.value.message == "No peer offers a model to this run."
        assert "left out: 3; most often for this reason: of another region" in caught.value.hint
        assert "`ricochet route explain small`" in caught.value.hint
        return asyncio.get_running_loop().time() - begin

    assert on(stage, scene) < KNOWN_WAIT + 1, "nodes are known, so nobody else is to be expected"
    assert stage.calls == 0


def test_a_node_that_is_left_out_does_not_hide_what_the_others_lack(tmp_path: Path) -> None:
    stage = Stage(tmp_path, routing=RoutingSettings(regions=("eu",)))
    stage.node(0, region="us")
    stage.node(1, region="eu")
    with pytest.raises(LocalFault) as caught:
        play(stage, numbered(1), Chain("sown", (msgspec.structs.replace(MAPPED, seed=7),)))
    assert caught.value.message.endswith("with the window the run needs and support for seed.")
    with pytest.raises(LocalFault) as other:
        play(stage, numbered(1), model=ModelId("gigantic"))
    assert "Models on offer now: small" in other.value.hint


def test_a_wait_for_offers_is_told(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    with pytest.raises(LocalFault) as caught:
        play(stage, numbered(1))
    assert "No registered node answers" in caught.value.hint
    (told,) = stage.heard(OffersAwaited)
    assert told.model is None and 0 < told.seconds <= OFFER_WAIT - SILENT
    with pytest.raises(LocalFault):
        play(stage, numbered(1), model=ModelId("gigantic"))
    assert [event.model for event in stage.heard(OffersAwaited)] == [None, "gigantic"]


def test_a_model_that_nobody_offers_cannot_be_explained(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.node(0)
    with pytest.raises(LocalFault) as caught:
        look(stage, lambda setting: explain(setting, ModelId("none"), NEED))
    assert caught.value.code == "no_peer"
