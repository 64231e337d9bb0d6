"""What the owner is told: the settings, alerts over a real webhook, figures for Prometheus."""

import asyncio
import io
import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from ricochet_network import notices
from ricochet_network.notices import desktop_command
from ricochet_node.alerts import QUEUE, REPEAT, Alert, Alerts
from ricochet_node.listening import host_and_port
from ricochet_node.log import EventLog
from ricochet_node.metrics import Metrics
from ricochet_node.monitoring import Monitoring
from ricochet_node.request_log import RequestRecord
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.ids import ModelId, Period, RequestId
from ricochet_protocol.money import Units


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metrics", "9464"),
        ("metrics", "127.0.0.1:http"),
        ("metrics", "127.0.0.1:70000"),
        ("webhook", "http://example.org/hook"),
        ("webhook", "ftp://127.0.0.1/"),
        ("webhook", "https://"),
        ("webhook", "https://example.org:port/"),
        ("alerts", ["everything"]),
        ("keep_days", 0),
        ("content_days", 0),
        ("content", "yes"),
        ("metric", ""),
    ],
)
def test_settings_that_cannot_be_used_are_named(field: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.convert({field: value}, Monitoring)


def test_settings_that_can() -> None:
    read = msgspec.convert({"metrics": "[::1]:0", "webhook": "http://127.0.0.1:1/x"}, Monitoring)
    assert host_and_port(read.metrics) == ("::1", 0)
    assert len(read.alerts) == 4


@asynccontextmanager
async def webhook(answers: list[int]) -> AsyncIterator[tuple[str, "asyncio.Queue[Any]"]]:
    """A server that answers with these statuses in turn, the last one for good."""
    got: asyncio.Queue[Any] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        got.put_nowait(await request.json())
        status = answers.pop(0) if len(answers) > 1 else answers[0]
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", got
    finally:
        await runner.cleanup()


def on_loop(test: Callable[[aiohttp.ClientSession], Any]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20), aiohttp.ClientSession() as client:
            await test(client)

    asyncio.run(run())


def test_an_alert_reaches_the_webhook_once() -> None:
    async def test(client: aiohttp.ClientSession) -> None:
        now = [1000.0]
        log = EventLog(io.StringIO())
        async with webhook([204]) as (url, got):
            alerts = Alerts(Monitoring(webhook=url), client, lambda: now[0], log)
            log.listener = alerts.hear
            async with alerts.sending():
                log.event("offer_withdrawn", key="mine", model="small")
                log.event("offer_withdrawn", key="mine", model="small")
                log.event("served", model="small")
                log.event("offer_withdrawn", key="other", model="small")
                now[0] += REPEAT
                log.event("offer_withdrawn", key="mine", model="small")
                messages = [await got.get() for _ in range(3)]
            assert got.empty()
        assert [message["fields"]["key"] for message in messages] == ["mine", "other", "mine"]
        assert messages[0]["kind"] == "key_refused" and messages[0]["title"]
        assert messages[2]["time"] == 1000.0 + REPEAT

    on_loop(test)


def test_only_what_is_wanted_is_told() -> None:
    async def test(client: aiohttp.ClientSession) -> None:
        log = EventLog(io.StringIO())
        async with webhook([200]) as (url, got):
            settings = Monitoring(webhook=url, alerts=("payout_confirmed",))
            alerts = Alerts(settings, client, lambda: 0.0, log)
            async with alerts.sending():
                alerts.hear("cap_reached", {"key": "mine"})
                alerts.hear("withdrawn", {"withdrawn": 700})
                message = await got.get()
            assert (message["kind"], got.empty()) == ("payout_confirmed", True)

    on_loop(test)


@pytest.mark.parametrize("answers", [[500, 503, 204], [302]])
def test_a_webhook_is_tried_again_and_its_failure_logged(
    answers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "PAUSES", (0.0, 0.0))
    recovers = answers[-1] == 204

    async def test(client: aiohttp.ClientSession) -> None:
        stream = io.StringIO()
        log = EventLog(stream)
        async with webhook(answers) as (url, got):
            alerts = Alerts(Monitoring(webhook=url), client, lambda: 0.0, log)
            async with alerts.sending():
                alerts.hear("unreachable", {})
                for _ in range(3):
                    await got.get()
                alerts.hear("withdrawn", {"withdrawn": 1})
                await got.get()
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
        failed = [line for line in lines if line["event"] == "alert_undelivered"]
        assert [line["reason"] for line in failed] == ([] if recovers else ["status 302"])

    on_loop(test)


def test_a_flood_is_bounded() -> None:
    async def test(client: aiohttp.ClientSession) -> None:
        async with webhook([200]) as (url, got):
            alerts = Alerts(Monitoring(webhook=url), client, lambda: 0.0, EventLog(io.StringIO()))
            for number in range(QUEUE + 5):
                alerts.hear("cap_reached", {"key": f"k{number}"})
            async with alerts.sending():
                keys = [(await got.get())["fields"]["key"] for _ in range(QUEUE)]
                alerts.hear("cap_reached", {"key": "the next"})
                keys.append((await got.get())["fields"]["key"])
        assert keys == [*(f"k{number}" for number in range(QUEUE)), "the next"]

    on_loop(test)


def test_a_notification_is_one_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alert = Alert(kind="cap_reached", title="a cap", time=0.0, fields={"key": "--urgency; rm x"})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert desktop_command(alert.line()) is None
    for name in ("notify-send", "osascript"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    command = desktop_command(alert.line())
    assert command is not None and command[-1] == "a cap: key --urgency; rm x"


def test_a_desktop_without_notifications_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    async def test(client: aiohttp.ClientSession) -> None:
        stream = io.StringIO()
        log = EventLog(stream)
        told = asyncio.Event()
        log.listener = lambda *_: told.set()
        alerts = Alerts(Monitoring(desktop=True), client, lambda: 0.0, log)
        async with alerts.sending():
            alerts.hear("unreachable", {})
            await told.wait()
        assert json.loads(stream.getvalue())["reason"] == "no notifier"

    on_loop(test)


STATUS = {
    "open_calls": 2,
    "peers_known": 5,
    "peers_connected": 4,
    "earned": 700,
    "unclaimed": 1000,
    "models": [{"model": "small", "offered": True}, {"model": "gone", "offered": False}],
}


def test_figures_for_prometheus() -> None:
    record = RequestRecord(
        time=0.0,
        door="peer",
        request_id=RequestId("0" * 32),
        subscriber="",
        period=Period(1),
        model=ModelId("small"),
        key="mine",
        outcome="ok",
        tokens_in=1000,
        tokens_out=100,
        exact=True,
        income=Units(1000),
        upstream_cost=Units(300),
        first_token_ms=50,
        ms=400,
    )
    metrics = Metrics(lambda: STATUS)
    metrics.count(record)
    metrics.count(msgspec.structs.replace(record, replayed=True))
    nothing = {"outcome": "busy", "upstream_cost": None, "income": Units(0)}
    metrics.count(msgspec.structs.replace(record, **nothing))
    left = {"outcome": "cancelled", "upstream_cost": Units(0), "upstream_risk": Units(70)}
    metrics.count(msgspec.structs.replace(record, **left, income=Units(5)))

    async def test(client: aiohttp.ClientSession) -> None:
        async with metrics.served("127.0.0.1", 0) as url, client.get(url) as response:
            text = await response.text()
            host, port = url.removeprefix("http://").removesuffix("/metrics").split(":")
            with pytest.raises(LocalFault, match="cannot be served"):
                async with Metrics(lambda: STATUS).served(host, int(port)):
                    pass
        assert response.content_type == "text/plain"
        assert 'ricochet_requests_total{key="mine",model="small",outcome="ok"} 2.0' in text
        assert 'ricochet_requests_total{key="mine",model="small",outcome="busy"} 1.0' in text
        assert 'ricochet_income_units_total{model="small"} 1005.0' in text
        assert 'ricochet_upstream_cost_units_total{key="mine",model="small"} 600.0' in text
        assert 'ricochet_upstream_risk_units_total{key="mine",model="small"} 70.0' in text
        assert 'ricochet_tokens_total{direction="in",model="small"} 1000.0' in text
        assert 'ricochet_request_seconds_bucket{le="0.5",model="small"} 1.0' in text
        assert 'ricochet_offered{model="gone"} 0.0' in text
        assert "ricochet_unclaimed 1000.0" in text

    on_loop(test)
