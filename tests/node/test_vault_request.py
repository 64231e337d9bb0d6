"""What a caller may send through the vault: the model that is allowed, and text that is counted."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_node.key_rules import KeyRules
from ricochet_node.providers import Dialect
from ricochet_node.vault_request import Call, Refusal, Target, call_untrusted, target_untrusted

RULES = KeyRules(models=("m",))
CHAT = Target(Dialect.OPENAI, "POST", "/chat/completions", None)
MESSAGES = Target(Dialect.ANTHROPIC, "POST", "/v1/messages", None)
GENERATE = Target(Dialect.GOOGLE, "POST", "/v1beta/models/m:generateContent", "m")
SAID: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
PARTS: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def call(target: Target, body: object, rules: KeyRules = RULES) -> Call:
    return call_untrusted(target, body if isinstance(body, bytes) else _json(body), rules)


def _json(body: object) -> bytes:
    return json.dumps(body).encode()


def refused(target: Target, body: object) -> str:
    with pytest.raises(Refusal) as caught:
        call(target, body)
    return caught.value.code


def test_the_model_of_the_body_must_be_allowed() -> None:
    assert json.loads(call(CHAT, SAID).body) == SAID
    assert refused(CHAT, SAID | {"model": "other"}) == "model"
    assert refused(CHAT, b'{"model":"m","messages":[],"model":"other"}') == "model"
    assert refused(CHAT, b'{"messages":[],"mod\\u0065l":"other"}') == "model"
    assert call(CHAT, SAID | {"model": "other"}, KeyRules()).model == "other"


def test_what_is_sent_names_each_field_once() -> None:
    twice = b'{"model":"expensive","messages":[],"mod\\u0065l":"m","max_tokens":9,"max_tokens":5}'
    sent = call(CHAT, twice)
    assert sent.body == b'{"model":"m","messages":[],"max_tokens":5}'
    assert sent.max_tokens == 5
    inner = b'{"contents":[],"generationConfig":{"maxOutputTokens":9,"maxOutputTokens":5}}'
    assert call(GENERATE, inner).body == b'{"contents":[],"generationConfig":{"maxOutputTokens":5}}'


def test_the_model_of_the_path_must_be_allowed() -> None:
    target = target_untrusted(Dialect.GOOGLE, "POST", "/v1beta/models/other:generateContent")
    assert refused(target, PARTS) == "model"
    assert call(GENERATE, PARTS).model == "m"


def test_a_list_of_models_is_asked_for_without_a_body() -> None:
    target = target_untrusted(Dialect.OPENAI, "GET", "/models")
    assert call(target, b"") == Call()
    assert refused(target, b"{}") == "body"


@pytest.mark.parametrize(
    ("target", "body", "bound"),
    [
        (CHAT, SAID, None),
        (CHAT, SAID | {"max_tokens": 7}, 7),
        (CHAT, SAID | {"max_tokens": 7, "max_completion_tokens": 70}, 70),
        (CHAT, SAID | {"n": 1, "stream": True, "tools": []}, None),
        (MESSAGES, SAID | {"max_tokens": 7, "system": "be brief"}, 7),
        (GENERATE, PARTS | {"generationConfig": {"max_output_tokens": 7, "top_p": 1}}, 7),
        (
            GENERATE,
            PARTS | {"generationConfig": {"maxOutputTokens": 7, "max_output_tokens": 70}},
            70,
        ),
    ],
)
def test_its_bounds_are_read(target: Target, body: dict[str, Any], bound: int | None) -> None:
    read = call(target, body)
    assert read.max_tokens == bound
    assert read.prompt > len(read.body)


def test_tools_and_their_results_pass_in_every_dialect() -> None:
    function = {"type": "function", "function": {"name": "f", "parameters": {}}}
    called = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        {"role": "assistant", "content": "", "tool_calls": [called]},
        {"role": "tool", "content": "done", "tool_call_id": "1"},
    ]
    assert call(CHAT, SAID | {"messages": turns, "tools": [function]}).prompt > 1024
    used = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "1", "content": "done"}
    turns = [{"role": "assistant", "content": [used]}, {"role": "user", "content": [result]}]
    tool = {"name": "f", "input_schema": {}}
    call(MESSAGES, SAID | {"max_tokens": 1, "messages": turns, "tools": [tool]})
    parts = [{"functionCall": {"name": "f"}}, {"function_response": {"name": "f"}}]
    declared = {"functionDeclarations": [{"name": "f"}]}
    call(GENERATE, {"contents": [{"parts": parts}], "tools": [declared]})


@pytest.mark.parametrize(
    ("target", "body", "code"),
    [
        (CHAT, SAID | {"service_tier": "priority"}, "field"),
        (CHAT, SAID | {"web_search_options": {}}, "field"),
        (CHAT, SAID | {"models": ["m", "expensive"]}, "field"),
        (CHAT, SAID | {"n": 2}, "body"),
        (CHAT, SAID | {"max_tokens": -1}, "body"),
        (CHAT, SAID | {"max_tokens": 10**30}, "body"),
        (CHAT, SAID | {"max_tokens": True}, "body"),
        (CHAT, SAID | {"tools": [{"type": "web_search"}]}, "body"),
        (CHAT, {"model": "m"}, "body"),
        (CHAT, {"messages": []}, "body"),
        (CHAT, SAID | {"model": ["m"]}, "body"),
        (
            CHAT,
            SAID | {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "body",
        ),
        (MESSAGES, SAID, "body"),
        (MESSAGES, SAID | {"max_tokens": 1, "container": "c"}, "field"),
        (
            MESSAGES,
            SAID | {"max_tokens": 1, "tools": [{"type": "web_search_20250305", "name": "s"}]},
            "body",
        ),
        (GENERATE, PARTS | {"cachedContent": "c"}, "field"),
        (GENERATE, PARTS | {"tools": [{"googleSearch": {}}]}, "body"),
        (GENERATE, PARTS | {"generationConfig": {"candidateCount": 2}}, "body"),
        (GENERATE, PARTS | {"generationConfig": {"candidate_count": 2}}, "body"),
        (GENERATE, PARTS | {"generationConfig": {"responseModalities": ["IMAGE"]}}, "field"),
        (GENERATE, {"contents": [{"parts": [{"fileData": {"fileUri": "x"}}]}]}, "body"),
    ],
)
def test_what_costs_more_than_it_counts_for_is_refused(
    target: Target, body: object, code: str
) -> None:
    assert refused(target, body) == code


@given(target=st.sampled_from([CHAT, MESSAGES, GENERATE]), body=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(target: Target, body: bytes) -> None:
    assert refused(target, body) in ("body", "field", "model")


@given(
    target=st.sampled_from([CHAT, MESSAGES, GENERATE]),
    changes=st.dictionaries(
        st.sampled_from(["model", "messages", "contents", "max_tokens", "generationConfig", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(["role", "content", "parts", "text"]), inner)
            ),
            max_leaves=5,
        ),
    ),
)
def test_any_object_is_read_or_refused(target: Target, changes: dict[str, Any]) -> None:
    start = PARTS if target is GENERATE else SAID | {"max_tokens": 5}
    try:
        read = call(target, start | changes)
    except Refusal as refusal:
        assert refusal.code in ("body", "field", "model")
    else:
        assert read.model == "m"
        assert json.loads(read.body) == start | changes
