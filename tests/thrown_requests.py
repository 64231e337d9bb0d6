"""Requests that follow a server's published description, and that do not, and a server for them."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode

PATIENCE = 20.0


@dataclass
class Server:
    """Where it is, a session that may use it, and what its event loop complained of."""

    base: str
    session: requests.Session
    faults: list[str]


@contextmanager
def beside(opened: Callable[[], AbstractAsyncContextManager[tuple[str, str]]]) -> Iterator[Server]:
    """A server in a loop and thread of its own, for clients that block.

    `opened` gives its URL, which ends in `/v1`, and a key for it.
    """
    faults: list[str] = []
    ready: list[tuple[str, str, asyncio.AbstractEventLoop, asyncio.Event]] = []
    started = threading.Event()

    async def serve() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(lambda _, context: faults.append(str(context["message"])))
        async with opened() as (url, secret):
            ready.append((url.removesuffix("/v1"), secret, loop, stop))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(PATIENCE)
    base, secret, loop, stop = ready[0]
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {secret}"
        yield Server(base, session, faults)
    loop.call_soon_threadsafe(stop.set)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def described(path: Path, *modes: GenerationMode) -> Any:
    """The schema of a description, from which requests of these modes are drawn."""
    schema = schemathesis.openapi.from_dict(json.loads(path.read_text("utf-8")))
    schema.config.generation.update(modes=list(modes))
    return schema


def drawn(examples: int) -> settings:
    """So many requests, the same each time."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
