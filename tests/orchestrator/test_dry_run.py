"""What a dry run says, held against what runs then take."""

import hashlib
from pathlib import Path

import msgspec
import pytest
from orchestrator_stage import JOINED, MAPPED, OVERVIEW, SHORT, Stage, numbered, on, play

from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.document import Document, default_document
from ricochet_orchestrator.dry_run import dry_run
from ricochet_orchestrator.estimate import Estimate
from ricochet_orchestrator.request import Options, request_for
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.messages import Ask
from ricochet_protocol.money import PricePerMillion
from twins.scripted_node import MODEL, OFFER


def estimated(stage: Stage, document: Document, chain: Chain = SHORT) -> Estimate:
    async def scene() -> Estimate:
        async with stage.setting() as setting:
            return await dry_run(setting, request_for(document, chain, Options()), document)

    return on(stage, scene)


def steady(ask: Ask) -> str:
    """Answers of about 60 % of the limit, whose exact length depends on the prompt."""
    seed = hashlib.sha256(ask.turns[-1].content.encode()).digest()[0]
    return "word " * (ask.max_tokens * (55 + seed % 11) // 100) + "end."


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    made = Stage(tmp_path)
    for number in range(3):
        made.node(number, answer=steady)
    return made


@pytest.mark.parametrize("chain", [SHORT, OVERVIEW], ids=["short", "overview"])
def test_an_estimate_is_within_five_percent_of_the_real_cost(stage: Stage, chain: Chain) -> None:
    document = default_document()
    found = estimated(stage, document, chain)
    assert stage.calls == 0, "nobody was asked"
    result = play(stage, document, chain)
    assert found.calls == result.calls
    assert found.cost == pytest.approx(result.cost, rel=0.05)
    assert found.tokens_in == pytest.approx(result.tokens_in, rel=0.05)
    assert found.cost_low <= result.cost <= found.cost_high
    assert not found.timed and found.seconds > 0


def test_history_takes_the_place_of_the_guess(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.node(0, think=3.0)
    play(stage, numbered(3))
    found = estimated(stage, numbered(9))
    assert found.stored == 2 and found.calls == 8, "what is stored is not counted again"
    result = play(stage, numbered(9))
    assert found.cost == pytest.approx(result.cost, rel=0.05)
    assert found.timed
    # A node that proves itself on the way takes more at once than it is seen to take now.
    assert result.seconds * 0.9 < found.seconds < result.seconds * 2


def test_what_is_stored_costs_nothing(stage: Stage) -> None:
    play(stage, numbered(4))
    found = estimated(stage, numbered(4))
    assert (found.calls, found.stored, found.cost, found.cost_high) == (0, 5, 0, 0)


def test_the_range_spans_the_offers(stage: Stage) -> None:
    dear = msgspec.structs.replace(
        OFFER, price_in=PricePerMillion(900_000), price_out=PricePerMillion(900_000)
    )
    stage.nodes[0].offers = (dear,)
    found = estimated(stage, numbered(4))
    result = play(stage, numbered(4))
    assert found.cost_low < result.cost < found.cost_high
    (use,) = found.models
    assert (use.model, use.calls, len(use.peers)) == (MODEL, 5, 3)
    assert {one.offer.price_in for one in use.peers} == {100_000, 900_000}


def test_retries_and_steps_that_answers_decide_are_told(stage: Stage) -> None:
    schema = {"type": "array", "items": {"type": "string"}}
    topics = msgspec.structs.replace(MAPPED, name="topics", schema=schema, retries=2)
    each = msgspec.structs.replace(JOINED, name="each-topic", mode="each", over="topics")
    chain = Chain("open", (topics, each))
    short = numbered(1, words=100)
    found = estimated(stage, short, chain)
    assert found.open_steps == ("each-topic",)
    once = msgspec.structs.replace(topics, retries=0)
    plain = estimated(stage, short, Chain("open", (once, each)))
    assert (found.calls, found.cost_high) == (1, 3 * plain.cost_high)


def test_a_model_that_nobody_offers(tmp_path: Path) -> None:
    with pytest.raises(LocalFault) as caught:
        estimated(Stage(tmp_path), numbered(1))
    assert caught.value.code == "no_peer"
