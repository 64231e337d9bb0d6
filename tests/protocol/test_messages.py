"""Messages: round trips, a closed schema, and nothing but RemoteFault for a peer's bytes."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_samples import ASK, REPLIES, REQUESTS, SIGNED_ADVERT

from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import (
    MAX_ADVERTS,
    Announce,
    Ask,
    Chunk,
    Reply,
    Request,
    Turn,
    encode,
    reply_untrusted,
    request_untrusted,
)

text = st.text(max_size=200)
turns = st.lists(
    st.builds(Turn, st.sampled_from(["system", "user", "assistant"]), text), min_size=1
)
asks = st.builds(
    Ask,
    request_id=st.binary(min_size=16, max_size=16).map(lambda raw: RequestId(raw.hex())),
    period=st.integers(1, 2**32 - 1).map(Period),
    model=text.map(ModelId),
    turns=turns.map(tuple),
    max_tokens=st.integers(1, 1_000_000),
    deadline=st.integers(1, 600),
    temperature=st.floats(0.0, 2.0),
)


@given(asks)
def test_an_ask_comes_back_as_it_was_with_the_same_digest(ask: Ask) -> None:
    again = request_untrusted(encode(ask))
    assert isinstance(again, Ask) and again == ask and again.digest() == ask.digest()


@given(text)
def test_any_text_streams_unchanged(piece: str) -> None:
    assert reply_untrusted(encode(Chunk(piece))) == Chunk(piece)


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
def test_every_request_comes_back_and_is_no_reply(request_: Request) -> None:
    assert request_untrusted(encode(request_)) == request_
    with pytest.raises(RemoteFault):
        reply_untrusted(encode(request_))


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
def test_every_reply_comes_back_and_is_no_request(reply: Reply) -> None:
    assert reply_untrusted(encode(reply)) == reply
    with pytest.raises(RemoteFault):
        request_untrusted(encode(reply))


@given(st.binary(max_size=400))
def test_arbitrary_bytes_give_a_message_or_a_remote_fault(data: bytes) -> None:
    for parse in (request_untrusted, reply_untrusted):
        try:
            parse(data)
        except RemoteFault as fault:
            assert fault.code == "garbage"


SAMPLES = [*map(encode, REQUESTS.values()), *map(encode, REPLIES.values())]


@given(st.sampled_from(SAMPLES), st.integers(0, 2000), st.binary(min_size=1, max_size=4))
def test_a_damaged_message_is_a_message_or_a_remote_fault(
    data: bytes, at: int, patch: bytes
) -> None:
    at %= len(data)
    for damaged in (data[:at] + patch + data[at + len(patch) :], data[:at]):
        for parse in (request_untrusted, reply_untrusted):
            try:
                parse(damaged)
            except RemoteFault as fault:
                assert fault.code == "garbage"


def test_deep_nesting_is_a_remote_fault() -> None:
    for data in (b"\x91" * 100_000, b"\x81\xa4kind" * 50_000):
        with pytest.raises(RemoteFault):
            request_untrusted(data)


def ask_with(**changes: Any) -> bytes:
    return msgspec.msgpack.encode({**msgspec.to_builtins(ASK, builtin_types=[bytes]), **changes})


WRONG: dict[str, dict[str, Any]] = {
    "an upstream": {"api_base": "http://localhost"},
    "an unknown kind": {"kind": "transfer"},
    "a request id in capitals": {"request_id": "A" * 32},
    "a short request id": {"request_id": "0" * 31},
    "no turns": {"turns": []},
    "an unknown role": {"turns": [{"role": "tool", "content": "x"}]},
    "a turn with more": {"turns": [{"role": "user", "content": "x", "name": "y"}]},
    "no tokens": {"max_tokens": 0},
    "too many tokens": {"max_tokens": 1_000_001},
    "text for a number": {"max_tokens": "90"},
    "no deadline": {"deadline": 0},
    "a long deadline": {"deadline": 601},
    "a high temperature": {"temperature": 2.1},
    "no number for a temperature": {"temperature": float("nan")},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
def test_the_schema_is_closed(changes: dict[str, Any]) -> None:
    assert request_untrusted(ask_with()) == ASK
    with pytest.raises(RemoteFault) as caught:
        request_untrusted(ask_with(**changes))
    assert caught.value.code == "garbage"


def test_the_number_of_adverts_in_a_message_is_bounded() -> None:
    most = Announce((SIGNED_ADVERT,) * MAX_ADVERTS)
    assert request_untrusted(encode(most)) == most
    with pytest.raises(ValueError):
        Announce((SIGNED_ADVERT,) * (MAX_ADVERTS + 1))
    builtins = msgspec.to_builtins(most, builtin_types=[bytes])
    builtins["adverts"] = [*builtins["adverts"], builtins["adverts"][0]]
    with pytest.raises(RemoteFault):
        request_untrusted(msgspec.msgpack.encode(builtins))


def test_an_error_never_repeats_what_the_peer_sent() -> None:
    with pytest.raises(RemoteFault) as caught:
        request_untrusted(ask_with(model=1, turns=[{"role": "s3cret", "content": "s3cret"}]))
    assert "s3cret" not in str(caught.value) and caught.value.__cause__ is None
