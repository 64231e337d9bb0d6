"""OpenAI's chat completions as this project reads and writes them, without a server."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_protocol import chat_answer
from ricochet_protocol.chat_answer import Head, Usage
from ricochet_protocol.chat_request import MAX_BODY, BadRequest, ChatRequest, chat_request_untrusted
from ricochet_protocol.conversation import AnswerFormat, Tool, ToolCall, ToolChoice, Turn
from ricochet_protocol.errors import BudgetError, RemoteCode, RemoteFault
from ricochet_protocol.ids import ModelId
from ricochet_protocol.messages import CallPiece, Chunk

LEAST = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
HEAD = Head(id="chatcmpl-1", created=5, model=ModelId("m"))


def read(**changes: Any) -> ChatRequest:
    return chat_request_untrusted(json.dumps({**LEAST, **changes}).encode())


def refused(**changes: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read(**changes)
    return caught.value


def test_the_least_request() -> None:
    assert read() == ChatRequest(model=ModelId("m"), turns=(Turn("user", "hi"),))


def test_everything_an_ask_can_carry() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    request = read(
        messages=[
            {
                "role": "developer",
                "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}],
            },
            {"role": "user", "content": "look"},
            {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "look", "arguments": "{}"},
                    }
                ],
            },
            {"role": "tool", "content": "a cat", "tool_call_id": "c1"},
        ],
        max_completion_tokens=50,
        temperature=0,
        top_p=0.5,
        stop="END",
        seed=7,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        },
        tools=[{"type": "function", "function": {"name": "look", "parameters": schema}}],
        tool_choice={"type": "function", "function": {"name": "look"}},
        stream=True,
        stream_options={"include_usage": True},
        user="someone",
        n=1,
        logprobs=None,
        frequency_penalty=0.0,
    )
    text = json.dumps(schema, separators=(",", ":"))
    assert [turn.role for turn in request.turns] == ["system", "user", "assistant", "tool"]
    assert request.turns[0].content == "be brief"
    assert request.turns[2].tool_calls == (ToolCall("c1", "look", "{}"),)
    assert json.loads(request.tools[0].parameters) == schema
    assert request.tools[0] == Tool("look", "", request.tools[0].parameters)
    assert request.tool_choice == ToolChoice("function", "look")
    assert json.loads(request.response_format.schema) == json.loads(text)
    assert request.response_format.strict
    assert (request.max_tokens, request.temperature, request.top_p) == (50, 0.0, 0.5)
    assert (request.stop, request.seed) == (("END",), 7)
    assert request.stream and request.include_usage


@pytest.mark.parametrize("kind", ["text", "json_object"])
def test_plain_formats(kind: Any) -> None:
    assert read(response_format={"type": kind}).response_format == AnswerFormat(kind=kind)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"functions": []}, "functions"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": 0}, "top_p"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages",
        ),
        ({"response_format": {"type": "text", "json_schema": {"name": "x"}}}, "response_format"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(changes: dict[str, Any], param: str) -> None:
    error = refused(**changes)
    assert error.param == param
    assert error.message


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"messages": []}, "at least one turn"),
        ({"messages": [{"role": "king", "content": "hi"}]}, "role"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}, "not made"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stops"),
        ({"tools": [{"function": {"name": "a b"}}]}, "name"),
        ({"tool_choice": "required"}, "no tools"),
        ({"model": 5}, "model"),
        ({"response_format": {"type": "json_schema"}}, "name"),
    ],
)
def test_bad_values_are_told(changes: dict[str, Any], word: str) -> None:
    assert word in refused(**changes).message


def test_too_much_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadRequest, match="bytes"):
        chat_request_untrusted(b" " * (MAX_BODY + 1))


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*LEAST, "tools", "stop", "n", "content", "role"]), inner
            )
        ),
        max_leaves=15,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_a_request_or_a_refusal(data: bytes) -> None:
    try:
        assert isinstance(chat_request_untrusted(data), ChatRequest)
    except BadRequest as error:
        assert error.message


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(BadRequest):
        chat_request_untrusted(b'{"model":' + b"[" * 100_000)


def events(data: bytes) -> list[Any]:
    *lines, end = data.decode().strip().split("\n\n")
    assert end == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_a_whole_answer() -> None:
    answer = json.loads(chat_answer.completion(HEAD, "yes", (), "stop", Usage(3, 1)))
    assert answer["choices"][0]["message"] == {
        "role": "assistant",
        "content": "yes",
        "refusal": None,
    }
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    called = json.loads(
        chat_answer.completion(HEAD, "", (ToolCall("c", "f", "{}"),), "tool_calls", Usage(3, 1))
    )
    message = called["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


def test_a_stream() -> None:
    data = b"".join(
        [
            chat_answer.first_event(HEAD),
            chat_answer.piece_event(HEAD, Chunk("ye")),
            chat_answer.piece_event(HEAD, CallPiece(0, "c", "f", "")),
            chat_answer.piece_event(HEAD, CallPiece(0, "", "", "{}")),
            chat_answer.last_events(HEAD, "tool_calls", Usage(3, 1)),
        ]
    )
    first, text, opened, more, last, usage = events(data)
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert text["choices"][0]["delta"] == {"content": "ye"}
    assert opened["choices"][0]["delta"]["tool_calls"][0] == {
        "index": 0,
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": ""},
    }
    assert more["choices"][0]["delta"]["tool_calls"][0]["function"] == {"arguments": "{}"}
    assert last["choices"][0]["finish_reason"] == "tool_calls"
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 4)
    assert len(events(chat_answer.last_events(HEAD, "stop", None))) == 1


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        (RemoteCode.NO_MODEL, 404, "model_not_found"),
        (RemoteCode.TOO_LONG, 400, "context_length_exceeded"),
        (RemoteCode.BUSY, 429, "rate_limit_exceeded"),
        (RemoteCode.TIMEOUT, 504, "timeout"),
        (RemoteCode.UPSTREAM, 502, "upstream"),
        (RemoteCode.INTERNAL, 502, "internal"),
    ],
)
def test_faults_have_the_codes_that_clients_know(code: str, status: int, told: str) -> None:
    got, body = chat_answer.failure(RemoteFault(code, "what happened", "what to do"))
    error = json.loads(body)["error"]
    assert (got, error["code"]) == (status, told)
    assert error["message"] == "what happened; what to do"


def test_an_empty_purse_is_a_quota() -> None:
    status, body = chat_answer.failure(BudgetError("budget_exhausted", "nothing left"))
    error = json.loads(body)["error"]
    assert (status, error["type"], error["code"]) == (402, "insufficient_quota", "budget_exhausted")
    event = chat_answer.failure_event(BudgetError("budget_exhausted", "nothing left"))
    assert event.startswith(b"data: {") and event.endswith(b"\n\n")


def test_the_models() -> None:
    listed = json.loads(chat_answer.models([ModelId("a"), ModelId("b")], "ricochet"))
    assert [one["id"] for one in listed["data"]] == ["a", "b"]
