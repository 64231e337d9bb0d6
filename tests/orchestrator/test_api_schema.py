"""Requests that follow the API's published description, and that do not.

The real server stands over a network in memory. Whatever comes, it answers in the shape that
`docs/openapi.json` publishes, never with a 5xx, and goes on serving.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from api_stage import opened
from hypothesis import HealthCheck, given, settings
from orchestrator_stage import Stage
from schemathesis import GenerationMode

from openapi_document import PATH

STREAMS = "/api/runs/{run}/events"
"""Ends only when its run does."""


@dataclass
class Api:
    base: str
    session: requests.Session
    faults: list[str]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The server in a loop and thread of its own, for clients that block."""
    stage = Stage(tmp_path_factory.mktemp("api"))
    stage.node(0)
    faults: list[str] = []
    ready: list[tuple[str, str, asyncio.AbstractEventLoop, asyncio.Event]] = []
    started = threading.Event()

    async def serve() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(lambda _, context: faults.append(str(context["message"])))
        async with opened(stage) as one:
            ready.append((one.url.removesuffix("/v1"), one.secret, loop, stop))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(20)
    base, secret, loop, stop = ready[0]
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {secret}"
        yield Api(base, session, faults)
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)


def operations(mode: GenerationMode) -> list[Any]:
    schema = schemathesis.openapi.from_dict(json.loads(PATH.read_text("utf-8")))
    schema.config.generation.update(modes=[mode])
    found = [one.ok() for one in schema.get_all_operations()]
    return [one for one in found if one.path != STREAMS]


def throw(api: Api, operation: Any, examples: int) -> set[int]:
    """Send so many generated requests; the statuses that came back."""
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
        response = case.call(base_url=api.base, session=api.session, timeout=20)
        seen.add(response.status_code)
        assert response.status_code < 500, response.text[:500]
        case.operation.validate_response(response)
        assert api.faults == []

    one()
    return seen


def shake(api: Api, examples: int) -> None:
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        for operation in operations(mode):
            throw(api, operation, examples)
    health = api.session.get(f"{api.base}/health", timeout=20)
    assert health.json()["status"] == "ok"


def test_requests_within_and_outside_the_description(api: Api) -> None:
    shake(api, 2)


@pytest.mark.deep
@pytest.mark.timeout(1800)
def test_thousands_of_requests(api: Api) -> None:
    shake(api, 150)
