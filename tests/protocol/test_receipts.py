"""What a client believes of a node's receipt, and what it refuses."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import Address, Hash32, ModelId, NetworkId, Period, RequestId
from ricochet_protocol.money import PricePerMillion, Units
from ricochet_protocol.receipt import (
    Receipt,
    SignedReceipt,
    answer_digest,
    check_receipt_untrusted,
    sign_receipt,
)
from ricochet_protocol.signing import peer_of
from ricochet_protocol.usage import check_usage, most_prompt, worst_cost

SEED = bytes([3]) * 32
PEER = peer_of(SEED)
OFFER = ModelOffer(
    id=ModelId("m"),
    context=2304,
    price_in=PricePerMillion(400_000),
    price_out=PricePerMillion(800_000),
    slots=1,
)
RECEIPT = Receipt(
    network=NetworkId("eip155:1:0x" + "11" * 20),
    subscriber=Address("0x" + "22" * 20),
    operator=Address("0x" + "33" * 20),
    period=Period(1),
    request_id=RequestId("ab" * 16),
    ask=Hash32(b"a" * 32),
    advert=Hash32(b"b" * 32),
    answer=answer_digest("text"),
    tokens_in=1_000,
    tokens_out=90,
    exact=True,
    cost=Units(472),
    due=Units(1_000),
)


def test_a_true_receipt_is_believed() -> None:
    signed = sign_receipt(SEED, RECEIPT)
    expected = msgspec.structs.replace(RECEIPT, tokens_in=0, tokens_out=0, cost=0, due=0)
    assert check_receipt_untrusted(signed, PEER, expected) == RECEIPT


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("network", "eip155:2:0x" + "11" * 20),
        ("subscriber", "0x" + "44" * 20),
        ("operator", "0x" + "44" * 20),
        ("period", 2),
        ("request_id", "cd" * 16),
        ("ask", b"c" * 32),
        ("advert", b"c" * 32),
        ("answer", answer_digest("other")),
    ],
)
def test_a_receipt_for_something_else_is_refused(field: str, value: object) -> None:
    signed = sign_receipt(SEED, msgspec.structs.replace(RECEIPT, **{field: value}))
    with pytest.raises(RemoteFault, match="something else"):
        check_receipt_untrusted(signed, PEER, RECEIPT)


def test_a_receipt_of_another_peer_is_refused() -> None:
    with pytest.raises(RemoteFault, match="false signature"):
        check_receipt_untrusted(sign_receipt(bytes(32), RECEIPT), PEER, RECEIPT)
    forged = SignedReceipt(receipt=RECEIPT, signature=b"\0" * 64)
    with pytest.raises(RemoteFault, match="false signature"):
        check_receipt_untrusted(forged, PEER, RECEIPT)


def test_a_receipt_costs_no_more_than_is_due() -> None:
    with pytest.raises(ValueError, match="cost out of range"):
        msgspec.structs.replace(RECEIPT, due=471)


def test_honest_usage_passes() -> None:
    check_usage(RECEIPT, OFFER, counted_in=900, counted_out=85, max_tokens=90)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tokens_in": 2_000, "cost": 872}, "tokens in"),
        ({"tokens_out": 91, "cost": 473}, "tokens out"),
        ({"cost": 473}, "its offer says 472"),
        ({"cost": 471}, "its offer says 472"),
    ],
)
def test_overbilling_is_refused(changes: dict[str, int], says: str) -> None:
    receipt = msgspec.structs.replace(RECEIPT, **changes)
    with pytest.raises(RemoteFault, match=says):
        check_usage(receipt, OFFER, counted_in=900, counted_out=85, max_tokens=90)


def test_what_a_provider_adds_for_tools_is_believed_only_with_tools() -> None:
    tokens_in = 2 * 900 + 64 + 530
    fair = OFFER.price_in * tokens_in + OFFER.price_out * 85
    bill = {"tokens_in": tokens_in, "tokens_out": 85, "cost": Units(-(-fair // 1_000_000))}
    receipt = msgspec.structs.replace(RECEIPT, **bill, due=Units(10**6))
    check_usage(receipt, OFFER, counted_in=900, counted_out=85, max_tokens=90, tools=True)
    with pytest.raises(RemoteFault, match="tokens in"):
        check_usage(receipt, OFFER, counted_in=900, counted_out=85, max_tokens=90)
    greedy = msgspec.structs.replace(receipt, tokens_in=2 * 900 + 64 + 1025)
    with pytest.raises(RemoteFault, match="tokens in"):
        check_usage(greedy, OFFER, counted_in=900, counted_out=85, max_tokens=90, tools=True)


@given(st.integers(0, 10**6), st.integers(1, 10**4), st.data())
def test_no_believable_receipt_costs_more_than_the_worst_case(
    counted: int, max_tokens: int, data: st.DataObject
) -> None:
    tools = data.draw(st.booleans())
    tokens_in = data.draw(st.integers(0, most_prompt(counted, tools=tools)))
    tokens_out = data.draw(st.integers(0, max_tokens))
    paid = worst_cost(OFFER, counted, max_tokens, tools=tools)
    honest = -(-(tokens_in * OFFER.price_in + tokens_out * OFFER.price_out) // 1_000_000)
    assert honest <= paid
