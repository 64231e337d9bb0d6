"""The subscriber's API on loopback over a network in memory, for real HTTP clients."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import openai
from orchestrator_stage import Stage, T

from ricochet_orchestrator import chains, entering
from ricochet_orchestrator.api import application, server
from ricochet_orchestrator.api.service import Service
from ricochet_orchestrator.api_keys import ApiKeys
from ricochet_orchestrator.checkpoint import RunRecord
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.request import Options
from ricochet_orchestrator.switchboard import Switchboard
from ricochet_orchestrator.workshop import Workshop

PAGE = "https://page.example"


@dataclass
class Opened:
    """A running server; `client` has the key `secret`."""

    stage: Stage
    service: Service
    board: Switchboard
    keys: ApiKeys
    workshop: Workshop
    url: str
    secret: str
    client: openai.AsyncOpenAI
    end: Callable[[], Awaitable[None]]

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}

    def with_key(self, secret: str) -> openai.AsyncOpenAI:
        return self.client.with_options(api_key=secret)


@asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[Opened]:
    keys = ApiKeys(stage.home)
    secret = keys.new("test", stage.settlement.now)
    async with stage.up(), stage.setting() as setting:

        def enter(document: Document, chain: str, options: Options) -> RunRecord:
            found = chains.get(chain, chains.folders(stage.home, stage.home))
            return entering.enter(setting.store, document, found, options, setting.clock())[0]

        with server.bound("127.0.0.1", 0) as listener:
            hosts, url = server.names(listener, "127.0.0.1")
            service = Service(stage.home, keys, setting.clock, stage.home)
            app = application.make_app(service, hosts, {PAGE})
            board = Switchboard(setting)
            workshop = Workshop(stage.home, board, enter)
            async with server.serving(app, listener) as end, board.open(), workshop.open():
                service.joined(workshop)
                client = openai.AsyncOpenAI(base_url=url, api_key=secret, max_retries=0, timeout=20)
                async with client:
                    yield Opened(stage, service, board, keys, workshop, url, secret, client, end)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for is in code that tells nobody
        await asyncio.sleep(0.01)


def run(stage: Stage, scenario: Callable[[Opened], Awaitable[T]]) -> T:
    async def inner() -> T:
        async with asyncio.timeout(40), opened(stage) as one:
            return await scenario(one)

    return asyncio.run(inner())
