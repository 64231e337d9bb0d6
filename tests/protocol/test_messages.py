"""Messages: round trips, a closed schema, and nothing but RemoteFault for a peer's bytes."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_samples import ASK, ASK_WITH_ALL, OFFER, REPLIES, REQUESTS, SIGNED_ADVERT

from ricochet_protocol.conversation import (
    MAX_SCHEMA,
    MAX_TOOLS,
    AnswerFormat,
    Tool,
    ToolCall,
    ToolChoice,
    Turn,
)
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.messages import (
    MAX_ADVERTS,
    Announce,
    Ask,
    Chunk,
    Reply,
    Request,
    check_supported,
    encode,
    reply_untrusted,
    request_untrusted,
)

text = st.text(max_size=200)
names = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)
schemas = st.dictionaries(text, st.none() | st.booleans() | text, max_size=3).map(
    lambda value: msgspec.json.encode(value).decode()
)
calls = st.builds(ToolCall, st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True), names, text)
plain = st.builds(Turn, st.sampled_from(["system", "user", "assistant"]), text)
called = st.lists(calls, min_size=1, max_size=3).flatmap(
    lambda made: st.tuples(
        st.builds(Turn, st.just("assistant"), text, st.just(tuple(made))),
        *(st.builds(Turn, st.just("tool"), text, st.just(()), st.just(c.id)) for c in made),
    )
)
turns = st.lists(plain.map(lambda turn: (turn,)) | called, min_size=1, max_size=4).map(
    lambda groups: [turn for group in groups for turn in group]
)
formats = st.sampled_from([AnswerFormat(), AnswerFormat("json_object")]) | st.builds(
    AnswerFormat, st.just("json_schema"), names, schemas, st.booleans()
)
tools = st.lists(
    st.builds(Tool, names, text, schemas, st.booleans()), max_size=3, unique_by=lambda t: t.name
)


def choices(offered: list[Tool]) -> st.SearchStrategy[ToolChoice]:
    if not offered:
        return st.just(ToolChoice())
    return st.sampled_from([ToolChoice("none"), ToolChoice("function", offered[-1].name)])


asks = tools.flatmap(
    lambda offered: st.builds(
        Ask,
        tools=st.just(tuple(offered)),
        tool_choice=choices(offered),
        request_id=st.binary(min_size=16, max_size=16).map(lambda raw: RequestId(raw.hex())),
        period=st.integers(1, 2**32 - 1).map(Period),
        model=text.map(ModelId),
        turns=turns.map(tuple),
        max_tokens=st.integers(1, 1_000_000),
        deadline=st.integers(1, 600),
        temperature=st.floats(0.0, 2.0),
        top_p=st.floats(0.0, 1.0, exclude_min=True),
        stop=st.lists(st.text(min_size=1, max_size=20), max_size=4).map(tuple),
        seed=st.none() | st.integers(-(2**63), 2**63 - 1),
        response_format=formats,
    )
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
    "an unknown role": {"turns": [{"role": "developer", "content": "x"}]},
    "a turn with more": {"turns": [{"role": "user", "content": "x", "name": "y"}]},
    "no tokens": {"max_tokens": 0},
    "too many tokens": {"max_tokens": 1_000_001},
    "text for a number": {"max_tokens": "90"},
    "no deadline": {"deadline": 0},
    "a long deadline": {"deadline": 601},
    "a high temperature": {"temperature": 2.1},
    "no number for a temperature": {"temperature": float("nan")},
    "no probability at all": {"top_p": 0.0},
    "no number for a probability": {"top_p": float("nan")},
    "five stops": {"stop": ["x"] * 5},
    "an empty stop": {"stop": [""]},
    "a long stop": {"stop": ["x" * 257]},
    "a seed beyond 64 bits": {"seed": 2**63},
    "an unknown format": {"response_format": {"kind": "yaml"}},
    "a format without its schema": {"response_format": {"kind": "json_schema", "name": "x"}},
    "a schema without its format": {"response_format": {"kind": "text", "schema": "{}"}},
    "a choice without tools": {"tool_choice": {"mode": "required"}},
    "a choice of what is not there": {
        "tools": [{"name": "a", "description": "", "parameters": "{}"}],
        "tool_choice": {"mode": "function", "name": "b"},
    },
    "a choice without a name": {"tool_choice": {"mode": "function"}},
    "a tool with a wild name": {
        "tools": [{"name": "rm -rf", "description": "", "parameters": "{}"}]
    },
    "a tool whose schema is no object": {
        "tools": [{"name": "a", "description": "", "parameters": "[1]"}]
    },
    "a tool whose schema is nested beyond reason": {
        "tools": [{"name": "a", "description": "", "parameters": '{"a":' * 70 + "1" + "}" * 70}]
    },
    "a tool with a long schema": {
        "tools": [{"name": "a", "description": "", "parameters": f'{{"a":"{"x" * MAX_SCHEMA}"}}'}]
    },
    "two tools of one name": {"tools": [{"name": "a", "description": "", "parameters": "{}"}] * 2},
    "too many tools": {
        "tools": [
            {"name": f"a{n}", "description": "", "parameters": "{}"} for n in range(MAX_TOOLS + 1)
        ]
    },
    "a result of no call": {"turns": [{"role": "tool", "content": "x", "tool_call_id": "1"}]},
    "a result without its call": {"turns": [{"role": "tool", "content": "x"}]},
    "a user who calls": {
        "turns": [
            {
                "role": "user",
                "content": "x",
                "tool_calls": [{"id": "1", "name": "a", "arguments": ""}],
            }
        ]
    },
    "a call without an id": {
        "turns": [
            {
                "role": "assistant",
                "content": "x",
                "tool_calls": [{"id": "", "name": "a", "arguments": ""}],
            }
        ]
    },
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


def test_an_ask_needs_what_it_uses_and_nothing_else() -> None:
    assert ASK.features() == frozenset()
    assert ASK_WITH_ALL.features() == {"top_p", "stop", "seed", "json_schema", "tools"}
    returned = msgspec.structs.replace(ASK_WITH_ALL, tools=(), tool_choice=ToolChoice())
    assert "tools" in returned.features()
    assert Ask.features(
        msgspec.structs.replace(ASK, response_format=AnswerFormat("json_object"))
    ) == {"json_object"}


def test_what_an_offer_does_not_list_is_refused_by_name() -> None:
    check_supported(ASK, msgspec.structs.replace(OFFER, features=()))
    with pytest.raises(RemoteFault) as caught:
        check_supported(ASK_WITH_ALL, OFFER)
    assert caught.value.code == "refused"
    assert caught.value.message == "the offer does not support json_schema, seed, top_p"


def test_a_prompt_counts_every_text_the_model_reads() -> None:
    read = list(ASK_WITH_ALL.texts())
    (tool,) = ASK_WITH_ALL.tools
    for part in ("How is Nancy?", "rain", '{"town":"Nancy"}', tool.description, tool.parameters):
        assert part in read
    assert ASK_WITH_ALL.response_format.schema in read


@pytest.mark.parametrize("features", [("tools", "stop"), ("stop", "stop")])
def test_features_of_an_offer_are_sorted_and_each_once(features: Any) -> None:
    with pytest.raises(ValueError, match="sorted"):
        msgspec.structs.replace(OFFER, features=features)
