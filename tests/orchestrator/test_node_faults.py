"""Nodes that die, lie or demand: each is routed around, nobody is paid for nothing."""

from pathlib import Path

import pytest
from orchestrator_stage import ADVANCE, MAPPED, Stage, numbered, on, play

from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.checkpoint import RunStatus, Status
from ricochet_orchestrator.client import STALL
from ricochet_orchestrator.dispatch import MAX_TRIES
from ricochet_orchestrator.progress import (
    FirstToken,
    Paid,
    PaymentDelayed,
    StepFailed,
    StepFinished,
    StepRetried,
)
from ricochet_orchestrator.result import RunResult
from ricochet_orchestrator.store import Store
from ricochet_protocol.errors import ExitCode, LocalFault
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.ports import Commitment
from ricochet_protocol.steps import Metered
from twins.scripted_node import OFFER, Fault, ScriptedNode
from twins.settlement import MemorySettlement

MOST = Metered(OFFER, 1000, 60).worst
LIES = [
    Fault.ENDS_WITHOUT_RECEIPT,
    Fault.WRONG_REPLY,
    Fault.BLANK,
    Fault.ENDLESS,
    Fault.DRIPS,
    Fault.SENDS_EMPTY_PIECES,
    Fault.LONGER_THAN_ASKED,
    Fault.BILLS_MORE_TOKENS,
    Fault.BILLS_ANOTHER_PRICE,
    Fault.RAISES_ITS_PRICE,
    Fault.FALSE_SIGNATURE,
    Fault.RECEIPT_OF_ANOTHER_CALL,
    Fault.CITES_UNSEEN_ADVERT,
    Fault.DEMANDS_TOO_MUCH,
    Fault.WANTS_MORE_THAN_IT_GAVE,
    Fault.TAKES_THE_ADVANCE,
    Fault.SHOWS_FOREIGN_VOUCHER,
    Fault.LANDS_NO_RESERVATION,
    Fault.KEY_REFUSED,
]


def two_nodes(home: Path) -> tuple[Stage, ScriptedNode, ScriptedNode]:
    stage = Stage(home)
    return stage, stage.node(0), stage.node(1)


def check_books(stage: Stage, result: RunResult, most: int = ADVANCE) -> None:
    """Vouchers are the accepted answers and at most `most` more, whatever the nodes say."""
    store = Store(stage.home / "runs.db")
    answers = store.answers(result.run_id).values()
    for node in stage.nodes:
        accepted = sum(answer.cost for answer in answers if answer.operator == node.operator)
        account = store.account(node.operator, Period(1))
        assert account.accepted == accepted
        assert accepted <= account.signed <= accepted + most
        assert stage.owed(node) <= account.signed
    store.close()


@pytest.mark.parametrize("fault", LIES, ids=lambda fault: fault.name.lower())
def test_a_peer_that_lies_is_routed_around_and_gets_an_advance_at_most(
    tmp_path: Path, fault: Fault
) -> None:
    stage, liar, honest = two_nodes(tmp_path)
    liar.always = fault
    result = play(stage, numbered(5))
    assert result.status is RunStatus.COMPLETED
    assert len(honest.calls) == 6
    # One that bills more than it may is paid, before its receipt comes, what would be believed.
    most = MOST if fault is Fault.BILLS_ANOTHER_PRICE else ADVANCE
    assert stage.owed(liar) <= most
    retried = stage.heard(StepRetried)
    assert retried and {event.peer for event in retried} == {liar.peer}
    assert len(retried) <= 2, "a liar is not asked again soon"
    check_books(stage, result, most)


@pytest.mark.parametrize("fault", [Fault.DIES_BEFORE_FIRST_TOKEN, Fault.DIES_AFTER_FIRST_TOKEN])
def test_a_node_that_dies_is_routed_around(tmp_path: Path, fault: Fault) -> None:
    stage, mortal, other = two_nodes(tmp_path)
    mortal.faults.extend([None, fault])
    result = play(stage, numbered(6))
    assert result.status is RunStatus.COMPLETED
    assert len(mortal.calls) - (fault is Fault.DIES_AFTER_FIRST_TOKEN) == 1
    assert len(other.calls) == 6
    check_books(stage, result)


def test_half_an_answer_is_not_kept(tmp_path: Path) -> None:
    stage, mortal, other = two_nodes(tmp_path)
    mortal.faults.append(Fault.DIES_AFTER_FIRST_TOKEN)
    result = play(stage, numbered(1), Chain("mapped", (MAPPED,)))
    whole = other.calls or mortal.calls
    assert len(whole) == 1
    assert result.output.count("The text has the number") == 1
    if mortal.calls:
        assert len(stage.heard(FirstToken)) == 2


def test_a_node_that_goes_silent_is_given_up_in_a_bounded_time(tmp_path: Path) -> None:
    stage, silent, _ = two_nodes(tmp_path)
    silent.always = Fault.GOES_SILENT
    result = play(stage, numbered(4))
    assert result.status is RunStatus.COMPLETED
    assert STALL - 1 < result.seconds < 2 * STALL
    assert "silent" in stage.heard(StepRetried)[0].reason


def test_a_node_that_is_stalled_in_mid_run_is_routed_around(tmp_path: Path) -> None:
    stage, stalled, _ = two_nodes(tmp_path)
    stage.on_event = lambda event: (
        stage.network.stall(stalled.peer)
        if isinstance(event, StepFinished) and event.peer == stalled.peer
        else None
    )

    async def scene() -> RunResult:
        result = await stage.play(numbered(6))
        stage.network.resume(stalled.peer)
        return result

    result = on(stage, scene)
    assert result.status is RunStatus.COMPLETED
    check_books(stage, result)


def test_a_full_node_is_asked_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    node = stage.node(0)
    node.faults.extend([Fault.BUSY] * 20)
    result = play(stage, numbered(2))
    assert result.status is RunStatus.COMPLETED
    assert {event.code for event in stage.heard(StepRetried)} == {"busy"}


def test_a_network_that_only_fails_ends_partial_and_goes_on_later(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    node = stage.node(0)
    # The first segment is answered, every later call fails.
    node.faults.append(None)
    node.always = Fault.KEY_REFUSED
    result = play(stage, numbered(2))
    assert result.status is RunStatus.PARTIAL
    assert result.exit_code is ExitCode.PARTIAL
    assert result.hint == "run it again"
    assert (result.output, result.calls) == ("", 1)
    assert len(stage.heard(StepFailed)) == 1
    assert len(stage.heard(StepRetried)) == MAX_TRIES - 1
    store = Store(stage.home / "runs.db")
    statuses = [step.status for step in store.steps(result.run_id)]
    assert sorted(statuses) == [Status.COMPLETED, Status.FAILED, Status.PENDING]
    store.close()
    node.always = None
    again = play(stage, numbered(2))
    assert (again.run_id, again.status) == (result.run_id, RunStatus.COMPLETED)
    assert stage.calls == 3


def test_reasons_from_peers_are_cleaned(tmp_path: Path) -> None:
    stage, liar, _ = two_nodes(tmp_path)
    liar.always = Fault.KEY_REFUSED
    play(stage, numbered(3))
    assert stage.heard(StepRetried)[0].reason == "the provider [31mrefuses"


def test_a_node_that_keeps_no_voucher_is_told_and_the_voucher_kept(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    node = stage.node(0)
    node.always = Fault.KEEPS_NO_VOUCHER
    node.faults.extend([None] * 9)
    node.credit = 10**6
    result = play(stage, numbered(2))
    assert (result.status, result.calls) == (RunStatus.PARTIAL, 1)
    assert stage.heard(PaymentDelayed)
    assert stage.owed(node) == 0
    node.always, node.credit = None, 0
    # The next contact, of whatever kind, delivers what is owed.
    assert play(stage, numbered(2)).status is RunStatus.COMPLETED
    assert stage.heard(Paid)[0].cumulative == result.cost, "before anything new is asked"
    assert stage.paid_fairly(node)


def test_a_voucher_that_could_not_be_delivered_goes_out_at_the_next_contact(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path)
    node = stage.node(0)
    node.credit = 10**6
    stage.on_event = lambda event: (
        stage.network.kill(node.peer)
        if isinstance(event, StepFinished) and event.name == "writer"
        else None
    )
    result = play(stage, numbered(2))
    assert result.status is RunStatus.COMPLETED
    assert stage.owed(node) < node.due
    stage.on_event = lambda _: None
    stage.events.clear()
    play(stage, numbered(3))
    assert stage.owed(node) == node.due
    assert stage.heard(Paid)[0].cumulative == result.cost, "before anything new is asked"


def test_a_node_that_lost_its_sessions_is_greeted_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    node = stage.node(0)
    stage.on_event = lambda event: (
        node.sessions.clear() if isinstance(event, StepFinished) else None
    )
    assert play(stage, numbered(3)).status is RunStatus.COMPLETED
    assert {event.code for event in stage.heard(StepRetried)} <= {"no_session"}


def test_lost_state_is_resumed_from_the_nodes_own_signature(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    node = stage.node(0)
    first = play(stage, numbered(2))
    (tmp_path / "runs.db").unlink()
    for name in ("runs.db-wal", "runs.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    second = play(stage, numbered(4))
    assert second.status is RunStatus.COMPLETED
    assert stage.paid_fairly(node)
    store = Store(tmp_path / "runs.db")
    assert store.account(node.operator, Period(1)).accepted == node.due > first.cost
    store.close()


def test_an_answer_made_anew_elsewhere_does_not_collide_with_an_old_one(tmp_path: Path) -> None:
    """The home lost its answers, and the node knows the request ids with other content."""
    stage = Stage(tmp_path)
    node = stage.node(0)
    play(stage, numbered(2))
    (tmp_path / "runs.db").unlink()
    node._stored = {key: (b"another ask", value[1]) for key, value in node._stored.items()}
    result = play(stage, numbered(2))
    assert result.status is RunStatus.COMPLETED
    assert {event.code for event in stage.heard(StepRetried)} == {"conflict"}


class Mined(MemorySettlement):
    """Blocks pass while people look."""

    async def commitment(self, subscriber: Address, period: Period, node: Address) -> Commitment:
        self.mine(1)
        return await super().commitment(subscriber, period, node)


def test_a_reservation_is_waited_for_until_it_is_confirmed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settlement=Mined(confirmations=12))
    stage.node(0)
    result = play(stage, numbered(1))
    assert result.status is RunStatus.COMPLETED
    assert result.cost > 0
    check_books(stage, result)


def test_a_reservation_that_is_never_confirmed_buys_nothing_and_is_not_signed_again(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path, settlement=MemorySettlement(confirmations=12))
    node = stage.node(0)
    with pytest.raises(LocalFault):
        play(stage, numbered(1))
    assert (stage.calls, node.voucher) == (0, None)
    assert stage.settlement.transactions == 1
