"""Canaries and second answers in a run: what they find and cost, and that steps stay whole."""

import json
import re
from pathlib import Path

import msgspec
import pytest
from orchestrator_stage import MAPPED, Stage, play

from ricochet_cli.main import main
from ricochet_orchestrator import opinion_store
from ricochet_orchestrator.chains import Chain
from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.document import Document, document_from
from ricochet_orchestrator.progress import Probed, StepFinished
from ricochet_orchestrator.routing import RoutingSettings
from ricochet_orchestrator.store import Store
from ricochet_protocol.ids import Period
from ricochet_protocol.messages import Ask
from ricochet_protocol.money import Units
from twins.scripted_node import MODEL, Fault, ScriptedNode, echo

MANY = Chain("many", (msgspec.structs.replace(MAPPED, prompt="{text}\nExplain."),))
ALLOWANCE = Units(20_000)


def prose(parts: int) -> Document:
    line = "The river rose and fell again, and nobody could say why. "
    return document_from("p.txt", "\n\n\n".join(f"Part {n}. " + line * 60 for n in range(parts)))


def reads(ask: Ask) -> str:
    """What a model would answer that reads its prompt."""
    prompt = ask.turns[-1].content
    if "with the number alone" not in prompt:
        return echo(ask)
    (number,) = re.findall(r"listed (\d+) entries", prompt)
    return f"It is {number}."


def checked(home: Path, settings: RoutingSettings, parts: int) -> tuple[Stage, list[ScriptedNode]]:
    stage = Stage(home, routing=settings)
    honest = [stage.node(number, answer=reads) for number in range(2)]
    liar = stage.node(2, answer=lambda ask: f"Bread {ask.turns[-1].content[5:8]} is baked daily.")
    result = play(stage, prose(parts), MANY)
    assert result.status is RunStatus.COMPLETED
    assert len(stage.heard(StepFinished)) == parts
    return stage, [*honest, liar]


def check_books(stage: Stage) -> None:
    """Checks are paid like steps: what a node is owed is what was accepted."""
    store = Store(stage.home / "runs.db")
    answers = store.answers(store.run(None).id)  # type: ignore[union-attr]  # there is one
    steps = sum(answer.cost for answer in answers.values())
    accounts = store.accounts(Period(1))
    assert sum(one.accepted for one in accounts) == steps + sum(
        event.cost for event in stage.heard(Probed)
    )
    on_record = store.payments()
    assert sum(one.cost for one in on_record) == sum(one.accepted for one in accounts)
    assert len(on_record) == len(answers) + len(stage.heard(Probed))
    for node in stage.nodes:
        assert node.due == store.account(node.operator, Period(1)).accepted
    store.close()


def test_canaries_find_who_does_not_read_and_peers_show_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage, (*honest, liar) = checked(tmp_path, RoutingSettings(canaries=ALLOWANCE), 110)
    probes = stage.heard(Probed)
    assert {event.check for event in probes} == {"canary"}
    assert any(event.peer == liar.peer for event in probes)
    for event in probes:
        assert event.likeness == float(event.peer != liar.peer)
    assert sum(event.cost for event in probes) <= ALLOWANCE
    check_books(stage)
    for node in (*honest, liar):
        shown = ["peers", "show", node.peer, "--offline", "--json", "--home", str(tmp_path)]
        assert main(shown) == 0
        (learnt,) = json.loads(capsys.readouterr().out)["learnt"]
        asked = sum(event.peer == node.peer for event in probes)
        assert learnt["probes"] == asked
        assert learnt["probes_failed"] == (asked if node is liar else 0)


def test_an_allowance_is_never_passed(tmp_path: Path) -> None:
    stage, _ = checked(tmp_path, RoutingSettings(canaries=Units(150)), 40)
    assert sum(event.cost for event in stage.heard(Probed)) <= 150


def test_second_answers_show_who_differs(tmp_path: Path) -> None:
    stage, nodes = checked(tmp_path, RoutingSettings(redundancy=0.5), 40)
    assert {event.check for event in stage.heard(Probed)} == {"second answer"}
    store = Store(tmp_path / "runs.db")
    known = opinion_store.opinions(store)
    store.close()
    honest = [known[node.peer, MODEL].honest.value for node in nodes]
    assert honest[2] < min(honest[:2])
    check_books(stage)


def test_without_settings_nothing_is_checked(tmp_path: Path) -> None:
    stage, nodes = checked(tmp_path, RoutingSettings(), 12)
    assert not stage.heard(Probed)
    assert sum(len(node.calls) for node in nodes) == 12


def test_a_check_that_fails_costs_the_run_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, routing=RoutingSettings(redundancy=1.0))
    good, bad = stage.node(0), stage.node(1)
    bad.always = Fault.PROVIDER_FAILS
    result = play(stage, prose(6), MANY)
    assert result.status is RunStatus.COMPLETED
    assert not stage.heard(Probed)
    assert len(good.calls) == 6
