"""Thousands of requests that follow the door's published description, and that do not.

The real door stands over a real node and the provider double. Whatever comes, it answers in the
shape that `docs/local-door.openapi.json` publishes, never with a 5xx, and goes on serving.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from node_bench import MODEL, config, offer, running
from schemathesis import GenerationMode

from ricochet_node.door_tokens import DoorTokens
from ricochet_node.local_door import LocalDoor
from ricochet_protocol.chat_request import _FIELDS, _NEUTRAL
from thrown_requests import PATIENCE, Server, beside, described, drawn

PUBLISHED = Path(__file__).parents[2] / "docs" / "local-door.openapi.json"
CHAT = "/v1/chat/completions"
HI = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
FEATURES = ("json_object", "json_schema", "seed", "stop", "tools", "top_p")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("door")
    tokens = DoorTokens(home)

    @asynccontextmanager
    async def opened() -> AsyncIterator[tuple[str, str]]:
        shown = config(offers=(offer(features=FEATURES, context=4_000, slots=8),))
        async with running(home, shown) as bench:
            local = LocalDoor(
                bench.supply.own,
                bench.supply.capacity.own,
                tokens,
                lambda: 0.0,
            )
            async with local.opened("127.0.0.1", 0) as url:
                yield url, tokens.new("test", 0)

    with beside(opened) as server:
        server.session.headers["Content-Type"] = "application/json"
        yield server


def post(door: Server, data: bytes) -> requests.Response:
    return door.session.post(door.base + CHAT, data=data, timeout=PATIENCE)


def check(door: Server, response: requests.Response, validate: Callable[[Any], Any]) -> None:
    """No fault of ours, a published status, and a body in the published shape."""
    assert response.status_code in (200, 400, 404), response.text[:500]
    if response.headers["Content-Type"].startswith("text/event-stream"):
        assert response.text.endswith("data: [DONE]\n\n")
    elif response.status_code == 200:
        assert response.json()["object"] in ("chat.completion", "list")
        validate(response)
    else:
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"] and error["code"]
        validate(response)
    assert door.faults == []


def throw(door: Server, mode: GenerationMode, examples: int) -> set[int]:
    """Send so many generated requests; the statuses that came back."""
    operation = described(PUBLISHED, mode)[CHAT]["POST"]
    seen: set[int] = set()

    @drawn(examples)
    @given(operation.as_strategy())
    def one(case: Any) -> None:
        if isinstance(case.body, dict) and mode is GenerationMode.POSITIVE:
            case.body["model"] = MODEL
        response = post(door, json.dumps(case.body, default=str).encode())
        seen.add(response.status_code)
        check(door, response, lambda answer: operation.validate_response(answer))

    one()
    return seen


def shake(door: Server, examples: int) -> None:
    """Send so many bodies that are no JSON, or a good request with a part replaced."""
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
        max_leaves=8,
    )
    names = st.sampled_from(sorted({*_FIELDS, *_NEUTRAL})) | st.text(max_size=12)
    mutated = st.dictionaries(names, anything, min_size=1, max_size=3).map(
        lambda changes: json.dumps({**HI, **changes}).encode()
    )
    cut = mutated.flatmap(lambda body: st.integers(0, len(body)).map(lambda end: body[:end]))
    nested = st.integers(1, 50_000).map(lambda depth: b'{"messages":' + b"[" * depth)

    @drawn(examples)
    @given(mutated | cut | nested | st.binary(max_size=200))
    def one(body: bytes) -> None:
        check(door, post(door, body), lambda _: None)

    one()


def serves(door: Server) -> None:
    response = post(door, json.dumps(HI).encode())
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"].startswith("Answer ")


@pytest.mark.deep
def test_the_description_is_valid() -> None:
    described(PUBLISHED).validate()


def test_the_description_covers_every_parameter() -> None:
    document = json.loads(PUBLISHED.read_text("utf-8"))
    described_fields = document["components"]["schemas"]["ChatRequest"]["properties"]
    assert set(described_fields) == set(_FIELDS)
    assert set(document["paths"]) == {CHAT, "/v1/models"}


def test_requests_within_and_outside_the_description(door: Server) -> None:
    throw(door, GenerationMode.POSITIVE, 3)
    assert 400 in throw(door, GenerationMode.NEGATIVE, 8)
    shake(door, 60)
    serves(door)


@pytest.mark.deep
@pytest.mark.timeout(1800)
def test_ten_thousand_malformed_requests(door: Server) -> None:
    throw(door, GenerationMode.POSITIVE, 200)
    throw(door, GenerationMode.NEGATIVE, 1_800)
    shake(door, 8_000)
    serves(door)


def test_the_list_is_as_published(door: Server) -> None:
    operation = described(PUBLISHED)["/v1/models"]["GET"]
    response = door.session.get(door.base + "/v1/models", timeout=PATIENCE)
    check(door, response, operation.validate_response)
    assert [one["id"] for one in response.json()["data"]] == [MODEL]
