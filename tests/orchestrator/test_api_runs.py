"""Runs through the subscriber's API: begun, seen, steered, followed; and chains as models."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web
from api_stage import Opened, run, until
from orchestrator_stage import Stage, numbered

from ricochet_orchestrator.call_record import Allowance
from ricochet_protocol.ids import Period
from ricochet_protocol.money import Units
from twins.scripted_node import Fault

TEXT = numbered(3).text
CHAIN = "ricochet/overview"
HI: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    stage = Stage(tmp_path)
    stage.node(1)
    return stage


async def fetch(one: Opened, method: str, path: str, status: int = 200, **rest: Any) -> Any:
    url = one.url.removesuffix("/v1") + path
    async with (
        aiohttp.ClientSession(headers=one.bearer) as client,
        client.request(method, url, **rest) as reply,
    ):
        assert reply.status == status, await reply.text()
        if reply.content_type == "application/json":
            return await reply.json()
        return await reply.text()


async def ended(one: Opened, run_id: str) -> list[dict[str, Any]]:
    """The events of a run, once it has ended for now."""
    text = await fetch(one, "GET", f"/api/runs/{run_id}/events")
    blocks = [block.split("\n") for block in text.split("\n\n") if block]
    return [dict(line.split(": ", 1) for line in block) for block in blocks if block[0][0] != ":"]


def test_a_run_is_begun_seen_and_followed(stage: Stage) -> None:
    async def scenario(one: Opened) -> None:
        begun = await fetch(one, "POST", "/api/runs", 202, json={"document": TEXT, "name": "a.txt"})
        run_id = begun["id"]
        assert (begun["chain"], begun["document"]) == ("overview", "a.txt")
        events = await ended(one, run_id)
        assert events[-1]["event"] == "end"
        assert json.loads(events[-1]["data"])["status"] == "completed"
        numbers = [int(event["id"]) for event in events[:-1]]
        assert numbers == list(range(1, len(numbers) + 1))
        later = await fetch(
            one, "GET", f"/api/runs/{run_id}/events", headers={"Last-Event-ID": str(numbers[-2])}
        )
        assert later.count("\nid: ") + later.startswith("id: ") == 1

        shown = await fetch(one, "GET", f"/api/runs/{run_id}")
        assert shown["done"] == shown["steps"] == shown["calls"] > 3
        assert shown["cost"] == stage.nodes[0].due
        steps = await fetch(one, "GET", f"/api/runs/{run_id}/steps")
        assert {step["status"] for step in steps} == {"completed"}
        kept = await fetch(one, "GET", f"/api/runs/{run_id}/checkpoints")
        assert sum(answer["cost"] for answer in kept) == shown["cost"]
        result = await fetch(one, "GET", f"/api/runs/{run_id}/result")
        text = await fetch(one, "GET", f"/api/runs/{run_id}/result?format=text")
        assert text == result["output"] and text.startswith("The text has")
        page = await fetch(one, "GET", f"/api/runs/{run_id}/result?format=html")
        assert page.startswith("<!doctype html>") and "<script" not in page
        marked = await fetch(one, "GET", f"/api/runs/{run_id}/result?format=markdown")
        assert text.split(".")[0] in marked and len(marked) > len(text)
        await fetch(one, "GET", f"/api/runs/{run_id}/result?format=pdf", 400)
        assert [one["id"] for one in await fetch(one, "GET", "/api/runs")] == [run_id]
        # The same file, uploaded as it is: every answer is there already.
        again = await fetch(one, "POST", "/api/runs?name=a.txt", 202, data=TEXT.encode())
        await ended(one, again["id"])
        shown = await fetch(one, "GET", f"/api/runs/{again['id']}")
        assert (shown["status"], shown["cost"], shown["calls"]) == ("completed", 0, 0)

    run(stage, scenario)


def test_a_run_is_paused_resumed_and_cancelled(stage: Stage) -> None:
    node = stage.nodes[0]

    async def scenario(one: Opened) -> None:
        node.think = 5.0
        begun = await fetch(one, "POST", "/api/runs", 202, json={"document": TEXT})
        path = f"/api/runs/{begun['id']}"
        await until(lambda: node.open > 0)
        assert (await fetch(one, "POST", f"{path}/pause"))["status"] == "paused"
        node.think = 0.0
        await fetch(one, "POST", f"{path}/resume", 202)
        await ended(one, begun["id"])
        assert (await fetch(one, "GET", path))["status"] == "completed"
        refused = await fetch(one, "POST", f"{path}/retry", 409)
        assert refused["error"]["code"] == "run_ended"

        node.think = 5.0
        other = await fetch(one, "POST", "/api/runs", 202, json={"document": TEXT + " More."})
        await until(lambda: node.open > 0)
        cancelled = await fetch(one, "POST", f"/api/runs/{other['id']}/cancel")
        assert cancelled["status"] == "cancelled"

    run(stage, scenario)


def test_what_is_wrong_is_said(stage: Stage) -> None:
    async def scenario(one: Opened) -> None:
        for body, status, code in (
            ({"document": TEXT, "chain": "none"}, 404, "chain_unknown"),
            ({"document": "  "}, 400, "document_empty"),
            ({"document": TEXT, "colour": "red"}, 400, "invalid_request"),
            ({"chain": "overview"}, 400, "invalid_request"),
            ({"document": TEXT, "max_cost": -1}, 400, "invalid_request"),
            ([], 400, "invalid_request"),
        ):
            said = await fetch(one, "POST", "/api/runs", status, json=body)
            assert said["error"]["code"] == code, said
        for method, path, status in (
            ("GET", "/api/runs/nothing", 404),
            ("POST", "/api/runs/nothing/pause", 404),
            ("GET", "/api/runs/nothing/events", 404),
            ("GET", "/api/runs?limit=x", 400),
            ("GET", "/api/runs?limit=0", 400),
            ("DELETE", "/api/runs", 405),
        ):
            said = await fetch(one, method, path, status)
            assert said["error"]["message"]
        secret = one.keys.new("chat", stage.settlement.now, models=("small",))
        refused = await fetch(
            one, "GET", "/api/runs", 403, headers={"Authorization": f"Bearer {secret}"}
        )
        assert refused["error"]["code"] == "key_not_for_runs"
        assert stage.calls == 0

    run(stage, scenario)


def test_a_chain_is_called_as_a_model(stage: Stage) -> None:
    async def scenario(one: Opened) -> None:
        create = one.client.chat.completions.create
        messages: Any = [{"role": "user", "content": TEXT}]
        answer = await create(model=CHAIN, messages=messages)
        text = answer.choices[0].message.content
        assert text.startswith("The text has") and answer.usage.prompt_tokens > 1000
        calls = stage.calls
        stream = await create(model=CHAIN, messages=messages, stream=True)
        parts = [part async for part in stream]
        assert "".join(p.choices[0].delta.content or "" for p in parts) == text
        assert parts[-1].choices[0].finish_reason == "stop"
        assert stage.calls == calls  # all of it was there
        for extra in ({"temperature": 0.3}, {"max_tokens": 5}, {"seed": 1}, {"stop": ["x"]}):
            with pytest.raises(openai.BadRequestError) as refused:
                await create(model=CHAIN, messages=messages, **extra)
            assert refused.value.param == next(iter(extra))
        with pytest.raises(openai.NotFoundError):
            await create(model="ricochet/none", messages=messages)

    run(stage, scenario)


def test_a_client_that_comes_back_goes_on_with_its_run(stage: Stage) -> None:
    node = stage.nodes[0]

    async def scenario(one: Opened) -> None:
        create = one.client.chat.completions.create
        messages: Any = [{"role": "user", "content": TEXT}]
        node.think = 0.3
        asking = asyncio.create_task(create(model=CHAIN, messages=messages))
        await until(lambda: len(node.calls) >= 2)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        (begun,) = await fetch(one, "GET", "/api/runs")
        await ended(one, begun["id"])
        assert (await fetch(one, "GET", f"/api/runs/{begun['id']}"))["status"] == "paused"
        node.think = 0.0
        answer = await create(model=CHAIN, messages=messages)
        assert answer.id == f"chatcmpl-{begun['id']}"
        shown = await fetch(one, "GET", f"/api/runs/{begun['id']}")
        assert shown["status"] == "completed" and shown["cost"] == node.due

    run(stage, scenario)


def test_a_run_is_capped_by_what_its_key_has_left(stage: Stage) -> None:
    async def scenario(one: Opened) -> None:
        secret = one.keys.new("poor", stage.settlement.now, budget=Units(300))
        key = one.keys.list()[-1]
        messages: Any = [{"role": "user", "content": TEXT}]
        with pytest.raises(openai.APIStatusError) as refused:
            await one.with_key(secret).chat.completions.create(model=CHAIN, messages=messages)
        assert refused.value.type == "insufficient_quota", refused.value
        assert "ricochet serve keys limit NAME DOLLARS" in refused.value.message
        assert "chain resume" not in refused.value.message, "which is not the client's to call"
        spent = one.board.calls.spent(Allowance(key.id, key.budget), Period(1), 0)
        assert 0 < spent == stage.nodes[0].due <= 300
        # Calls and runs share what is left.
        stage.nodes[0].always = Fault.PROVIDER_FAILS
        rich = one.keys.new("rich", stage.settlement.now, budget=Units(10**6))
        asking = asyncio.create_task(
            one.with_key(rich).chat.completions.create(model=CHAIN, messages=messages)
        )
        known = Allowance(one.keys.list()[-1].id, Units(10**6))
        await until(lambda: one.board.calls.spent(known, Period(1), 0) == 10**6)
        with pytest.raises(openai.RateLimitError):
            await one.with_key(rich).chat.completions.create(model="small", messages=HI)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: one.board.calls.spent(known, Period(1), 0) == 0)

    run(stage, scenario)


def test_the_end_of_a_run_is_told_to_who_asked(stage: Stage) -> None:
    async def scenario(one: Opened) -> None:
        told: asyncio.Queue[Any] = asyncio.Queue()

        async def hook(request: web.Request) -> web.Response:
            await told.put(await request.json())
            return web.Response()

        app = web.Application()
        app.router.add_post("/hook", hook)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            channel = f"webhook=http://127.0.0.1:{runner.addresses[0][1]}/hook"
            asked = {"document": TEXT, "notify": [channel]}
            begun = await fetch(one, "POST", "/api/runs", 202, json=asked)
            notice = await asyncio.wait_for(told.get(), 20)
            assert (notice["run"], notice["status"]) == (begun["id"], "completed")
            dear = {"document": TEXT[99:], "notify": [channel], "max_cost": 1}
            capped = await fetch(one, "POST", "/api/runs", 202, json=dear)
            notice = await asyncio.wait_for(told.get(), 20)
            assert (notice["run"], notice["status"]) == (capped["id"], "paused")
            assert notice["error"].startswith("max_cost")
            refused = {"document": TEXT, "notify": ["webhook=http://example.org/"]}
            await fetch(one, "POST", "/api/runs", 400, json=refused)
        finally:
            await runner.cleanup()

    run(stage, scenario)
