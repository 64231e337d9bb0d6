"""A vault in this process, before a recorder of requests; `test_vault.py` has processes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from doubles.recorder import Recorder
from ricochet_node.audit_trail import AuditTrail
from ricochet_node.counters import Counters
from ricochet_node.forward import Forwarder, Route
from ricochet_node.key_rules import KeyRules
from ricochet_node.limits import Limits
from ricochet_node.prices import Price
from ricochet_node.providers import Dialect
from ricochet_node.vault import REFUSAL, Vault
from ricochet_protocol.money import PricePerMillion

SECRET = "sk-test-0123456789abcdef"
TOKEN = "token-of-this-boot"
NOON = 1_795_435_200.0
"""2026-11-23 12:00 UTC."""
DAY = "2026-11-23"
PRICES = {"m": Price(PricePerMillion(1_000_000), PricePerMillion(2_000_000))}
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "tell me something confidential"}],
    "max_tokens": 50,
    "stream": True,
}
RULES = KeyRules(models=("m",), prices=PRICES, time_zone="UTC")


@dataclass
class Bench:
    """`now` is the vault's clock."""

    provider: Recorder
    client: aiohttp.ClientSession
    home: Path
    counters: Counters
    vault: Vault
    now: float = NOON

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.vault.port}"

    def post(self, path: str = "/k/chat/completions", body: object = BODY, **headers: str) -> Any:
        """The response's context."""
        return self.client.post(
            self.url + path,
            json=body,
            headers={"Authorization": f"Bearer {TOKEN}", **headers},
        )

    async def call(self, path: str = "/k/chat/completions", body: object = BODY) -> tuple[int, str]:
        """Status, and the vault's refusal."""
        async with self.post(path, body) as answer:
            await answer.read()
            return answer.status, answer.headers.get(REFUSAL, "")

    def spent(self) -> int:
        return self.counters.spent("k", DAY).amount

    def audited(self) -> list[dict[str, Any]]:
        text = (self.home / "keys.log").read_text()
        return [json.loads(line) for line in text.splitlines()]


@contextlib.asynccontextmanager
async def running(
    home: Path,
    rules: KeyRules = RULES,
    *,
    dialect: Dialect = Dialect.OPENAI,
    read_seconds: float = 30,
    upstream_seconds: float = 30,
) -> AsyncIterator[Bench]:
    async with (
        Recorder() as provider,
        aiohttp.ClientSession() as client,
        Forwarder(upstream_seconds) as forwarder,
    ):
        counters, trail = Counters(home / "keys.db"), AuditTrail(home / "keys.log")
        counters.share()
        route = Route(secret=SECRET, origin=provider.url, dialect=dialect)
        bench: Bench
        vault = Vault(
            {"k": route},
            {"k": rules},
            TOKEN,
            Limits(counters, lambda: bench.now),
            trail,
            lambda: bench.now,
            forwarder,
            read_seconds,
        )
        bench = Bench(provider, client, home, counters, vault)
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stop = asyncio.Event()
        serving = asyncio.create_task(vault.serve(ready, stop))
        await ready
        try:
            yield bench
        finally:
            stop.set()
            await serving
            counters.close()
            trail.close()


def streamed(*events: object, **headers: str) -> Any:
    """An answer that streams `events`."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **headers})
        await response.prepare(request)
        for event in events:
            await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        await response.write_eof()
        return response

    return answer


USED = {"usage": {"prompt_tokens": 5, "completion_tokens": 7}}
"""Costs 19 units."""
