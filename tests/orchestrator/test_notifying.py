"""Notices at a run's end: what they hold, where they go, and what cannot be delivered."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from orchestrator_stage import Stage, numbered, play

from ricochet_network import notices
from ricochet_network.notices import desktop_command, webhook_problem
from ricochet_orchestrator.control import Runs
from ricochet_orchestrator.notifying import Undelivered, check_channels, notice_of, send
from ricochet_protocol.errors import UsageError


def served(
    answer: Callable[[web.Request], Awaitable[web.Response]],
    scene: Callable[[str], Awaitable[None]],
) -> None:
    """Play a scene with a webhook on an ephemeral port."""

    async def all_of_it() -> None:
        app = web.Application()
        app.router.add_post("/hook", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            await scene(f"http://127.0.0.1:{runner.addresses[0][1]}/hook")
        finally:
            await runner.cleanup()

    asyncio.run(all_of_it())


def test_a_webhook_gets_counts_and_amounts_and_no_text(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.node(0)
    result = play(stage, numbered(2))
    with Runs(tmp_path) as runs:
        notice = notice_of(runs.state())
    got: list[bytes] = []

    async def answer(request: web.Request) -> web.Response:
        got.append(await request.read())
        return web.Response()

    async def scene(url: str) -> None:
        assert await send((f"webhook={url}",), notice) == ()

    served(answer, scene)
    (body,) = got
    document = json.loads(body)
    assert (document["event"], document["run"]) == ("run_ended", result.run_id)
    assert (document["status"], document["cost"]) == ("completed", result.cost)
    assert (document["done"], document["steps"]) == (3, 3)
    assert result.output[:30].encode() not in body and b"word word" not in body


def test_a_webhook_is_tried_again_and_its_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "PAUSES", (0.0, 0.0))
    statuses = [500, 302, 200, 404, 404, 404]

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=statuses.pop(0), headers={"Location": "/elsewhere"})

    async def scene(url: str) -> None:
        async with aiohttp.ClientSession() as client:
            assert await notices.post_notice(client, url, b"{}") == ""
            assert await notices.post_notice(client, url, b"{}") == "status 404"
            assert not statuses

    served(answer, scene)


def test_a_desktop_without_a_notifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path)
    stage.node(0)
    play(stage, numbered(1))
    with Runs(tmp_path) as runs:
        notice = notice_of(runs.state())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert asyncio.run(send(("desktop",), notice)) == (Undelivered("desktop", "no notifier"),)
    assert desktop_command("--x") is None
    assert "completed" in notice.line() and "2/2 steps" in notice.line()


@pytest.mark.parametrize(
    "channel",
    ["mail", "webhook=", "webhook=http://example.org/x", "webhook=ftp://127.0.0.1/", "webhook"],
)
def test_what_is_no_channel_is_refused(channel: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_channels(("desktop", channel))
    assert caught.value.code == "bad_notify"


def test_notices_go_encrypted_or_stay_here() -> None:
    assert webhook_problem("https://example.org/hook?token=x") == ""
    assert webhook_problem("http://127.0.0.1:9/x") == ""
    assert webhook_problem("https://example.org:port/") and webhook_problem("http://[")
