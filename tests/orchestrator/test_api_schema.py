"""Requests that follow the API's published description, and that do not.

The real server stands over a network in memory. Whatever comes, it answers in the shape that
`docs/openapi.json` publishes, never with a 5xx, and goes on serving.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from api_stage import opened
from hypothesis import given
from orchestrator_stage import Stage
from schemathesis import GenerationMode

from openapi_document import PATH
from thrown_requests import PATIENCE, Server, beside, described, drawn

STREAMS = "/api/runs/{run}/events"
"""Ends only when its run does."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    stage = Stage(tmp_path_factory.mktemp("api"))
    stage.node(0)

    @asynccontextmanager
    async def served() -> AsyncIterator[tuple[str, str]]:
        async with opened(stage) as one:
            yield one.url, one.secret

    with beside(served) as server:
        yield server


def throw(api: Server, operation: Any, examples: int) -> set[int]:
    """Send so many generated requests; the statuses that came back."""
    seen: set[int] = set()

    @drawn(examples)
    @given(operation.as_strategy())
    def one(case: Any) -> None:
        response = case.call(base_url=api.base, session=api.session, timeout=PATIENCE)
        seen.add(response.status_code)
        assert response.status_code < 500, response.text[:500]
        case.operation.validate_response(response)
        assert api.faults == []

    one()
    return seen


def shake(api: Server, examples: int) -> None:
    seen: dict[GenerationMode, set[int]] = {}
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        operations = [one.ok() for one in described(PATH, mode).get_all_operations()]
        statuses = [throw(api, one, examples) for one in operations if one.path != STREAMS]
        seen[mode] = set().union(*statuses)
    assert 200 in seen[GenerationMode.POSITIVE]
    assert 400 in seen[GenerationMode.NEGATIVE]
    health = api.session.get(f"{api.base}/health", timeout=PATIENCE)
    assert health.json()["status"] == "ok"


def test_requests_within_and_outside_the_description(api: Server) -> None:
    shake(api, 2)


@pytest.mark.deep
@pytest.mark.timeout(1800)
def test_thousands_of_requests(api: Server) -> None:
    shake(api, 150)
