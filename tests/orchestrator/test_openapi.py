"""The committed description of the API is the one that is served, and hangs together."""

import json
import re
from pathlib import Path

import aiohttp
from api_stage import Opened, run
from orchestrator_stage import Stage

from openapi_document import PATH, described


def test_the_committed_description_is_current() -> None:
    assert PATH.read_text("utf-8") == described(), "python tests/openapi_document.py writes it"


def test_every_reference_leads_somewhere() -> None:
    document = json.loads(described())
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    cited = set(re.findall(r'"\$ref": "([^"]+)"', described()))
    assert cited and cited <= known
    assert {"/v1/chat/completions", "/v1/models", "/api/runs", "/api/runs/{run}/events"} <= set(
        document["paths"]
    )


def test_it_is_served_without_a_key(tmp_path: Path) -> None:
    async def scenario(one: Opened) -> None:
        url = one.url.removesuffix("/v1")
        async with aiohttp.ClientSession() as client:
            async with client.get(f"{url}/openapi.json") as reply:
                assert await reply.json() == json.loads(described())
            async with client.get(f"{url}/health") as reply:
                assert await reply.json() == {"status": "ok", "models": 1}

    stage = Stage(tmp_path)
    stage.node(1)
    run(stage, scenario)
