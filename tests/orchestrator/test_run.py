import asyncio
from pathlib import Path

import msgspec
import pytest
from orchestrator_stage import (
    ADVANCE,
    MAPPED,
    OVERVIEW,
    SESSION_KEY,
    SUBSCRIBER,
    Stage,
    costs,
    numbered,
    on,
    play,
)

from ricochet_orchestrator.call_shape import request_id_of
from ricochet_orchestrator.chain_language import Chain, ChainStep, Condition, Count
from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.document import default_document, document_from
from ricochet_orchestrator.offers import OFFER_WAIT
from ricochet_orchestrator.plan import StepId
from ricochet_orchestrator.progress import (
    FirstToken,
    ModelReplaced,
    Paid,
    Progress,
    Reserved,
    RunFinished,
    RunStarted,
    StepFinished,
    StepStarted,
)
from ricochet_orchestrator.request import Options
from ricochet_orchestrator.store import Store
from ricochet_orchestrator.terms import Interrupted
from ricochet_protocol.errors import (
    BudgetError,
    ChainError,
    ConfigurationError,
    ExitCode,
    LocalFault,
)
from ricochet_protocol.ids import ModelId, PeerId, Period
from ricochet_protocol.messages import Ask
from ricochet_protocol.money import PricePerMillion
from ricochet_protocol.payer import PROVEN_ANSWERS
from ricochet_protocol.signing import account_address
from twins.scripted_node import MODEL, OFFER, Fault, ScriptedNode


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    made = Stage(tmp_path)
    for number in range(3):
        made.node(number)
    return made


def test_the_overview_of_the_built_in_document_over_three_nodes(stage: Stage) -> None:
    result = play(stage, default_document(), OVERVIEW)
    assert result.status is RunStatus.COMPLETED
    assert result.exit_code is ExitCode.OK
    assert (result.steps, result.calls, stage.calls) == (19, 19, 19)
    assert result.output.startswith("The text has the number")
    assert all(len(node.calls) >= 4 for node in stage.nodes), "everyone gets work"


def test_money_is_the_same_in_every_book(stage: Stage) -> None:
    result = play(stage, default_document(), OVERVIEW)
    assert result.cost == costs(stage.nodes)
    assert result.cost == sum(peer.cost for peer in result.peers)
    store = Store(stage.home / "runs.db")
    for node in stage.nodes:
        account = store.account(node.operator, Period(1))
        assert account.accepted == node.due
        assert account.signed == account.acknowledged == stage.owed(node)
        assert account.state.advanced == stage.owed(node) - node.due < 100, "less than a step"
        on_chain = asyncio.run(stage.settlement.commitment(SUBSCRIBER, Period(1), node.operator))
        assert account.reserved == account.committed == on_chain.committed == 50_000
    store.close()


def test_events_tell_the_whole_story(stage: Stage) -> None:
    result = play(stage, numbered(4))
    progress = Progress()
    for event in stage.events:
        progress = progress.after(event)
    assert (progress.total, progress.done, progress.calls) == (5, 5, 5)
    assert (progress.tokens_in, progress.cost) == (result.tokens_in, result.cost)
    assert not progress.running
    assert isinstance(stage.events[0], RunStarted) and isinstance(stage.events[-1], RunFinished)
    assert len(stage.heard(FirstToken)) == 5
    assert {event.total for event in stage.heard(Reserved)} == {50_000}
    assert max(event.cumulative for event in stage.heard(Paid)) <= result.cost + ADVANCE


def test_a_result_tells_what_each_peer_did(stage: Stage) -> None:
    for node in stage.nodes:
        node.think = 2.0
    result = play(stage, numbered(4))
    by_peer = {use.peer: use for use in result.peers}
    for node in stage.nodes:
        use = by_peer[node.peer]
        assert (use.calls, use.cost, use.operator) == (len(node.calls), node.due, node.operator)
        assert use.first_token == pytest.approx(2.0, abs=0.2)
    assert result.tokens_in == sum(use.tokens_in for use in result.peers)
    assert result.seconds >= 4.0


def test_every_ask_names_the_advert_whose_prices_it_goes_by(stage: Stage) -> None:
    published: set[tuple[PeerId, bytes]] = set()

    def look(event: object) -> None:
        for node in stage.nodes:
            adverts = (signed.advert for signed in node.peers.directory())
            published.update((advert.peer, advert.digest()) for advert in adverts)

    stage.on_event = look
    play(stage, numbered(4))
    asked = {(node.peer, ask.terms) for node in stage.nodes for ask in node.calls}
    assert asked and asked <= published


def test_an_unproven_node_gets_one_call_at_a_time_and_a_proven_one_its_slots(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path)
    node = stage.node(0)
    node.think = 1.0
    seen: list[tuple[int, int]] = []
    stage.on_event = lambda event: seen.append((len(node.calls), node.open))
    play(stage, numbered(12))
    assert max(busy for served, busy in seen if served < PROVEN_ANSWERS) <= 1
    assert node.most_open == OFFER.slots


def test_the_answers_of_a_map_at_the_end_come_in_order(stage: Stage) -> None:
    result = play(stage, numbered(4), Chain("mapped", (MAPPED,)))
    assert len(result.output.split("\n\n")) == 4
    in_order = sorted(
        (call for node in stage.nodes for call in node.calls),
        key=lambda call: call.turns[0].content.split(".")[0],
    )
    assert [len(ask.turns) for ask in in_order] == [1, 1, 1, 1]


def test_a_long_document_is_reduced_in_levels(tmp_path: Path) -> None:
    narrow = msgspec.structs.replace(OFFER, context=460)
    stage = Stage(tmp_path)
    for number in range(2):
        stage.node(number, offers=(narrow,))
    result = play(stage, numbered(3, words=400))
    assert result.status is RunStatus.COMPLETED
    writers = [event for event in stage.heard(StepFinished) if event.name == "writer"]
    assert len(writers) > 3
    for node in stage.nodes:
        assert all(len(ask.turns[0].content.split()) < 230 for ask in node.calls)


def test_a_second_run_of_the_same_costs_nothing(stage: Stage) -> None:
    first = play(stage, numbered(3))
    second = play(stage, numbered(3))
    assert second.run_id != first.run_id
    assert second.output == first.output
    assert (second.calls, second.cost, stage.calls) == (0, 0, 4)
    assert all(event.cached for event in stage.heard(StepFinished)[4:])


def test_a_changed_paragraph_asks_only_what_depends_on_it(stage: Stage) -> None:
    play(stage, numbered(4))
    text = numbered(4).text.replace("Part 2.", "Part two.")
    result = play(stage, document_from("changed.txt", text))
    assert result.calls == 2


def test_equal_seeds_spread_the_calls_equally(tmp_path: Path) -> None:
    def spread(folder: str, seed: int) -> list[tuple[str, str]]:
        stage = Stage(tmp_path / folder)
        for number in range(4):
            stage.node(number).think = 0.5 + number / 10
        play(stage, numbered(8), seed=seed)
        return [(event.step, event.peer) for event in stage.heard(StepStarted)]

    assert spread("a", 1) == spread("b", 1)
    assert spread("c", 2) != spread("a2", 1)


def test_each_step_can_have_its_own_model(tmp_path: Path) -> None:
    big = msgspec.structs.replace(OFFER, id=ModelId("big"), context=8000)
    stage = Stage(tmp_path)
    small_node, big_node = stage.node(0), stage.node(1, offers=(big,))
    writer = ChainStep("writer", "r", "reduce", "reader", "{text}\nJoin.", 60, model=ModelId("big"))
    result = play(stage, numbered(3), Chain("two", (MAPPED, writer)), model=MODEL)
    assert (len(small_node.calls), len(big_node.calls)) == (3, 1)
    assert result.status is RunStatus.COMPLETED


def test_the_model_that_most_peers_offer_is_the_default(tmp_path: Path) -> None:
    rare = msgspec.structs.replace(OFFER, id=ModelId("a-rare-one"))
    stage = Stage(tmp_path)
    for number, offers in enumerate(((OFFER,), (OFFER, rare))):
        stage.node(number, offers=offers)
    play(stage, numbered(1))
    assert {event.model for event in stage.heard(StepStarted)} == {MODEL}


def test_the_cheaper_node_gets_more_when_both_are_free(tmp_path: Path) -> None:
    dear = msgspec.structs.replace(OFFER, price_in=PricePerMillion(900_000))
    stage = Stage(tmp_path)
    cheap_node, dear_node = stage.node(0), stage.node(1, offers=(dear,))
    play(stage, numbered(1), Chain("mapped", (MAPPED,)))
    assert (len(cheap_node.calls), len(dear_node.calls)) == (1, 0)


def test_output_is_trimmed_and_cleaned(tmp_path: Path) -> None:
    def rambles(ask: Ask) -> str:
        return "A\x1b[2J full sentence. " + "and on and on " * (ask.max_tokens // 4) + "so"

    stage = Stage(tmp_path)
    stage.node(0, answer=rambles)
    assert play(stage, numbered(1)).output == "A[2J full sentence."


# What is missing.


def test_without_a_subscription_the_run_says_how_to_get_one(tmp_path: Path) -> None:
    stage = Stage(tmp_path, subscribed=False)
    stage.node(0)
    with pytest.raises(BudgetError) as caught:
        play(stage, numbered(1))
    assert caught.value.code == "no_subscription"
    assert "ricochet subscribe" in caught.value.hint


def test_a_subscription_that_has_ended_is_none(stage: Stage) -> None:
    stage.settlement.warp(31 * 24 * 3600)
    with pytest.raises(BudgetError) as caught:
        play(stage, numbered(1))
    assert caught.value.code == "no_subscription" and "ended" in caught.value.message


def test_a_key_that_the_subscription_does_not_name_is_refused(tmp_path: Path) -> None:
    stage = Stage(tmp_path, subscribed=False)
    stage.node(0)
    stage.settlement.subscribe(SUBSCRIBER, 10_000_000, account_address(bytes([3]) * 32))
    with pytest.raises(ConfigurationError) as caught:
        play(stage, numbered(1))
    assert caught.value.code == "not_delegate"
    assert "ricochet subscription rotate-session" in caught.value.hint
    assert SESSION_KEY.hex() not in caught.value.message


def test_a_key_that_was_replaced_elsewhere_is_refused(stage: Stage) -> None:
    stage.settlement.set_delegate(SUBSCRIBER, account_address(bytes([3]) * 32))
    with pytest.raises(ConfigurationError) as caught:
        play(stage, numbered(1))
    assert caught.value.code == "not_delegate"


def test_a_model_that_nobody_offers_names_those_on_offer(stage: Stage) -> None:
    with pytest.raises(LocalFault) as caught:
        play(stage, numbered(1), model=ModelId("gigantic"))
    assert caught.value.code == "no_peer"
    assert "gigantic" in caught.value.message and "small" in caught.value.hint


WRITER = ChainStep("writer", "r", "reduce", "reader", "{text}\nJoin.", 60, model=ModelId("gone"))
WITH_GONE = Chain("two", (MAPPED, WRITER))
FALLEN_BACK = Options(fallback=ModelId("spare"))


def test_a_run_whose_last_step_had_nothing_to_do_says_so(stage: Stage) -> None:
    never = msgspec.structs.replace(MAPPED, name="join", mode="reduce", over=MAPPED.name)
    never = msgspec.structs.replace(never, when=(Condition(step=MAPPED.name, count=Count(min=50)),))
    result = play(stage, numbered(1), Chain("two", (MAPPED, never)))
    assert (result.status, result.output, result.calls) == (RunStatus.COMPLETED, "", 1)
    assert "last step made no call" in result.hint
    assert play(stage, numbered(1), Chain("one", (MAPPED,))).hint == ""


def test_the_fallback_answers_for_a_model_that_nobody_offers(tmp_path: Path) -> None:
    spare = msgspec.structs.replace(OFFER, id=ModelId("spare"))
    stage = Stage(tmp_path)
    for number, offer in enumerate((OFFER, OFFER, spare)):
        stage.node(number, offers=(offer,))
    result = play(stage, numbered(3), WITH_GONE, options=FALLEN_BACK)
    assert result.status is RunStatus.COMPLETED
    (told,) = stage.heard(ModelReplaced)
    assert (told.model, told.by, told.steps) == ("gone", "spare", ("writer",))
    asked = {event.name: event.model for event in stage.heard(StepStarted)}
    assert asked == {"reader": MODEL, "writer": "spare"}


def test_a_model_that_is_offered_needs_no_fallback(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    for number, name in enumerate((MODEL, MODEL, "gone", "spare")):
        stage.node(number, offers=(msgspec.structs.replace(OFFER, id=ModelId(name)),))
    play(stage, numbered(3), WITH_GONE, options=FALLEN_BACK)
    assert not stage.heard(ModelReplaced)
    assert {event.model for event in stage.heard(StepStarted)} == {MODEL, ModelId("gone")}


def test_a_fallback_that_nobody_offers_helps_nobody(stage: Stage) -> None:
    with pytest.raises(LocalFault) as caught:
        play(stage, numbered(3), WITH_GONE, options=FALLEN_BACK)
    assert caught.value.code == "no_peer" and "gone" in caught.value.message


def test_a_run_keeps_its_fallback_and_plans_anew_without_it(tmp_path: Path) -> None:
    spare = msgspec.structs.replace(OFFER, id=ModelId("spare"))
    stage = Stage(tmp_path)
    for number, offer in enumerate((OFFER, OFFER, spare)):
        stage.node(number, offers=(offer,))
    stop = asyncio.Event()
    stage.on_event = lambda event: stop.set() if isinstance(event, RunStarted) else None

    async def scene() -> None:
        first = await stage.play(numbered(3), WITH_GONE, stop=stop, options=FALLEN_BACK)
        assert first.status is RunStatus.PAUSED
        again = await stage.play(numbered(3), WITH_GONE, stop=stop, options=FALLEN_BACK)
        assert again.run_id == first.run_id and len(stage.heard(ModelReplaced)) == 1
        with pytest.raises(LocalFault) as caught:
            await stage.play(numbered(3), WITH_GONE, options=Options())
        assert caught.value.code == "no_peer" and "gone" in caught.value.message
        last = await stage.play(numbered(3), WITH_GONE, options=FALLEN_BACK)
        assert (last.run_id, last.status) == (first.run_id, RunStatus.COMPLETED)

    on(stage, scene)


def test_an_empty_network_is_told_after_a_bounded_wait(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    with pytest.raises(LocalFault) as caught:
        play(stage, numbered(1))
    assert caught.value.code == "no_peer"


def test_a_node_that_is_not_in_the_registry_is_never_asked(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.node(0)
    impostor = stage.node(1)
    other = stage.node(2)
    stage.settlement.register_node(impostor.operator, other.peer, (), impostor.operator)
    impostor.always = Fault.BILLS_MORE_TOKENS
    assert play(stage, numbered(4)).status is RunStatus.COMPLETED
    assert impostor.asks == 0


def test_a_node_that_registers_late_is_used(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    node = stage.node(0)
    registered = stage.settlement._nodes.pop(node.operator)

    async def scene() -> RunStatus:
        async def later() -> None:
            await asyncio.sleep(4)
            stage.settlement._nodes[node.operator] = registered

        late = asyncio.create_task(later())
        result = await stage.play(numbered(1))
        await late
        return result.status

    assert on(stage, scene) is RunStatus.COMPLETED


def test_an_unreachable_chain_is_told(stage: Stage) -> None:
    stage.settlement.reachable = False
    with pytest.raises(ChainError):
        play(stage, numbered(1))


def trust(stage: Stage, node: ScriptedNode) -> None:
    """Have the node proven already, so that it is not held to what strangers get."""
    store = Store(stage.home / "runs.db")
    store.change_account(
        node.operator,
        Period(1),
        lambda account, _: msgspec.structs.replace(account, answers=PROVEN_ANSWERS),
    )
    store.close()


def test_an_exhausted_budget_loses_nothing_and_goes_on_after_a_top_up(tmp_path: Path) -> None:
    price = msgspec.structs.replace(OFFER, price_in=PricePerMillion(12_000_000))
    stage = Stage(tmp_path)
    stage.settlement.min_fee = 0
    stage.settlement._subscribers.clear()
    stage.settlement.subscribe(SUBSCRIBER, 350_000, account_address(SESSION_KEY))
    trust(stage, stage.node(0, offers=(price,)))
    with pytest.raises(BudgetError) as caught:
        play(stage, numbered(40), Chain("mapped", (MAPPED,)))
    assert caught.value.code == "budget_exhausted"
    done = stage.calls
    assert 20 < done < 40
    stage.settlement.top_up(SUBSCRIBER, 5_000_000)
    result = play(stage, numbered(40), Chain("mapped", (MAPPED,)))
    assert (result.status, result.calls, stage.calls) == (RunStatus.COMPLETED, 40, 40)
    assert stage.nodes[0].due == result.cost <= stage.owed(stage.nodes[0])


def test_a_call_dearer_than_trust_allows_is_told(tmp_path: Path) -> None:
    price = msgspec.structs.replace(OFFER, price_in=PricePerMillion(90_000_000))
    stage = Stage(tmp_path)
    stage.node(0, offers=(price,))
    with pytest.raises(BudgetError) as caught:
        play(stage, numbered(1))
    assert caught.value.code == "node_unproven"
    assert stage.calls == 0
    stage.node(1)
    assert play(stage, numbered(1)).status is RunStatus.COMPLETED, "another node can be trusted"


# Stopping and going on.


def test_a_stopped_run_pauses_and_goes_on(stage: Stage) -> None:
    for node in stage.nodes:
        node.think = 1.0
    stop = asyncio.Event()

    def stop_after_three(event: object) -> None:
        if len(stage.heard(StepFinished)) == 3:
            stop.set()

    stage.on_event = stop_after_three
    first = play(stage, numbered(8), stop=stop)
    assert first.status is RunStatus.PAUSED
    assert first.exit_code is ExitCode.INTERRUPTED
    assert first.hint == "run it again"
    assert first.calls < 8
    finished = {event.step for event in stage.heard(StepFinished)}
    stage.on_event = lambda _: None
    stage.events.clear()
    second = play(stage, numbered(8))
    assert second.run_id == first.run_id
    assert (second.status, second.calls) == (RunStatus.COMPLETED, 9)
    assert stage.heard(RunStarted)[0].resumed
    assert finished.isdisjoint(event.step for event in stage.heard(StepStarted))
    assert second.seconds > first.seconds


def test_stopping_takes_effect_at_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.node(0).always = Fault.GOES_SILENT
    stop = asyncio.Event()

    async def scene() -> float:
        loop = asyncio.get_running_loop()
        run = asyncio.create_task(stage.play(numbered(2), stop=stop))
        await asyncio.sleep(5)
        begin = loop.time()
        stop.set()
        assert (await run).status is RunStatus.PAUSED
        return loop.time() - begin

    assert on(stage, scene) < 1.5


def test_stopping_before_there_is_a_plan(tmp_path: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    with pytest.raises(Interrupted) as caught:
        play(Stage(tmp_path), numbered(1), stop=stop)
    assert caught.value.exit_code is ExitCode.INTERRUPTED


def test_a_resumed_run_keeps_its_plan_when_windows_change(stage: Stage) -> None:
    stop = asyncio.Event()
    stage.on_event = lambda event: stop.set() if isinstance(event, StepFinished) else None
    first = play(stage, numbered(5), stop=stop)
    assert first.status is RunStatus.PAUSED
    stage.on_event = lambda _: None
    for node in stage.nodes:
        node.offers = (msgspec.structs.replace(OFFER, context=8000),)
    second = play(stage, numbered(5))
    assert (second.run_id, second.calls) == (first.run_id, 6)


def test_peers_with_too_small_a_window_are_not_asked(stage: Stage) -> None:
    narrow = stage.nodes[0]
    narrow.offers = (msgspec.structs.replace(OFFER, context=500),)
    assert play(stage, numbered(5), Chain("mapped", (MAPPED,))).status is RunStatus.COMPLETED
    assert narrow.asks == 0


def test_a_model_that_leaves_the_network_ends_the_run_in_a_bounded_time(stage: Stage) -> None:
    for node in stage.nodes:
        node.think = 1.0

    begun = asyncio.Event()
    stage.on_event = lambda event: begun.set() if isinstance(event, StepFinished) else None

    async def scene() -> float:
        run = asyncio.create_task(stage.play(numbered(9)))
        await begun.wait()
        other = msgspec.structs.replace(OFFER, id=ModelId("other"))
        for node in stage.nodes:
            await node.advertise((other,))
        begin = asyncio.get_running_loop().time()
        with pytest.raises(LocalFault) as caught:
            await run
        assert caught.value.code == "no_peer" and "other" in caught.value.hint
        return asyncio.get_running_loop().time() - begin

    assert on(stage, scene) < 2 * OFFER_WAIT


def test_no_secret_is_in_the_store(stage: Stage) -> None:
    play(stage, numbered(2))
    content = b"".join(path.read_bytes() for path in stage.home.rglob("*") if path.is_file())
    assert SESSION_KEY not in content and SESSION_KEY.hex().encode() not in content


def test_only_a_subscriber_who_says_so_allows_logging(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    node = stage.node(0)
    play(stage, numbered(1))
    assert node.calls and not any(ask.allow_logging for ask in node.calls)
    before = len(node.calls)
    stage.allow_logging = True
    play(stage, numbered(2))
    again = node.calls[before:]
    assert again and all(ask.allow_logging for ask in again)


def test_a_changed_consent_meets_no_stored_answer_of_the_other() -> None:
    step, payer = StepId("a" * 64), SUBSCRIBER
    assert request_id_of(step, payer, logged=True) != request_id_of(step, payer)
    assert request_id_of(step, payer, 1, logged=True) != request_id_of(step, payer, 1)
