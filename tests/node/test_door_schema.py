"""Thousands of requests that follow the door's published description, and that do not.

The real door stands over a real node and the provider double. Whatever comes, it answers in the
shape that `docs/local-door.openapi.json` publishes, never with a 5xx, and goes on serving.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from node_bench import MODEL, config, offer, running
from schemathesis import GenerationMode

from ricochet_node.door_tokens import DoorTokens
from ricochet_node.local_door import LocalDoor
from ricochet_protocol.chat_request import _FIELDS, _NEUTRAL

PUBLISHED = Path(__file__).parents[2] / "docs" / "local-door.openapi.json"
CHAT = "/v1/chat/completions"
HI = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
FEATURES = ("json_object", "json_schema", "seed", "stop", "tools", "top_p")


@dataclass
class Door:
    base: str
    session: requests.Session
    faults: list[str]

    def post(self, data: bytes) -> requests.Response:
        return self.session.post(self.base + CHAT, data=data, timeout=20)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The door in a loop and thread of its own, for clients that block."""
    home = tmp_path_factory.mktemp("door")
    tokens = DoorTokens(home)
    faults: list[str] = []
    ready: list[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = []
    started = threading.Event()

    async def serve() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(lambda _, context: faults.append(str(context["message"])))
        shown = config(offers=(offer(features=FEATURES, context=4_000, slots=8),))
        async with running(home, shown) as bench:
            local = LocalDoor(
                bench.supply.own,
                bench.supply.capacity.own,
                tokens,
                lambda: 0.0,
            )
            async with local.opened("127.0.0.1", 0) as url:
                ready.append((url.removesuffix("/v1"), loop, stop))
                started.set()
                await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(20)
    base, loop, stop = ready[0]
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {tokens.new('test', 0)}"
        session.headers["Content-Type"] = "application/json"
        yield Door(base, session, faults)
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)


def check(door: Door, response: requests.Response, validate: Callable[[Any], Any]) -> None:
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


def described(modes: list[GenerationMode]) -> Any:
    schema = schemathesis.openapi.from_dict(json.loads(PUBLISHED.read_text("utf-8")))
    schema.config.generation.update(modes=modes)
    return schema[CHAT]["POST"]


def throw(door: Door, mode: GenerationMode, examples: int) -> set[int]:
    """Send so many generated requests; the statuses that came back."""
    operation = described([mode])
    seen: set[int] = set()

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy())
    def one(case: Any) -> None:
        if isinstance(case.body, dict) and mode is GenerationMode.POSITIVE:
            case.body["model"] = MODEL
        response = door.session.post(
            door.base + CHAT, data=json.dumps(case.body, default=str).encode(), timeout=20
        )
        seen.add(response.status_code)
        check(door, response, lambda answer: operation.validate_response(answer))

    one()
    return seen


def shake(door: Door, examples: int) -> None:
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

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutated | cut | nested | st.binary(max_size=200))
    def one(body: bytes) -> None:
        check(door, door.post(body), lambda _: None)

    one()


def serves(door: Door) -> None:
    response = door.post(json.dumps(HI).encode())
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"].startswith("Answer ")


@pytest.mark.deep
def test_the_description_is_valid() -> None:
    schemathesis.openapi.from_dict(json.loads(PUBLISHED.read_text("utf-8"))).validate()


def test_the_description_covers_every_parameter() -> None:
    document = json.loads(PUBLISHED.read_text("utf-8"))
    described_fields = document["components"]["schemas"]["ChatRequest"]["properties"]
    assert set(described_fields) == set(_FIELDS)
    assert set(document["paths"]) == {CHAT, "/v1/models"}


def test_requests_within_and_outside_the_description(door: Door) -> None:
    throw(door, GenerationMode.POSITIVE, 3)
    assert 400 in throw(door, GenerationMode.NEGATIVE, 8)
    shake(door, 60)
    serves(door)


@pytest.mark.deep
@pytest.mark.timeout(1800)
def test_ten_thousand_malformed_requests(door: Door) -> None:
    throw(door, GenerationMode.POSITIVE, 200)
    throw(door, GenerationMode.NEGATIVE, 1_800)
    shake(door, 8_000)
    serves(door)


def test_the_list_is_as_published(door: Door) -> None:
    operation = schemathesis.openapi.from_dict(json.loads(PUBLISHED.read_text("utf-8")))
    response = door.session.get(door.base + "/v1/models", timeout=20)
    check(door, response, operation["/v1/models"]["GET"].validate_response)
    assert [one["id"] for one in response.json()["data"]] == [MODEL]
