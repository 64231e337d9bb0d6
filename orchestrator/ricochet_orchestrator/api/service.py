"""What all routes share while the server runs: the switchboard, the keys, the clock, the end.

The HTTP side opens before the network is joined, which takes seconds; requests that need the
network wait for it, and health says so.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.requests import Request

from ricochet_orchestrator.api_keys import ApiKey, ApiKeys
from ricochet_protocol.errors import LocalFault

if TYPE_CHECKING:
    # The database library, which they need, loads while the network is joined.
    from ricochet_orchestrator.switchboard import Switchboard
    from ricochet_orchestrator.workshop import Workshop

JOIN_WAIT: Final = 30.0
"""Seconds that a request waits for the network to be joined."""


@dataclass
class Service:
    """Chains are looked for in `home` and from the folder `working`.

    `redacts`: what is sent has to be redacted, which is done for runs and not for single calls.

    `closing` is set when the server ends: no new calls, and streams that never end do."""

    home: Path
    keys: ApiKeys
    clock: Callable[[], float]
    working: Path = field(default_factory=Path.cwd)
    redacts: bool = False
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    _joined: "asyncio.Future[Workshop]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def joined(self, workshop: "Workshop") -> None:
        """The network is there."""
        self._joined.set_result(workshop)

    @property
    def ready(self) -> "Switchboard | None":
        """The switchboard, None before the network is joined."""
        return self._joined.result().board if self._joined.done() else None

    async def switchboard(self) -> "Switchboard":
        """The switchboard; LocalFault `not_joined` when it takes too long."""
        return (await self.workshop()).board

    async def workshop(self) -> "Workshop":
        """Where runs are worked on; the same LocalFault."""
        try:
            async with asyncio.timeout(JOIN_WAIT):
                return await asyncio.shield(self._joined)
        except TimeoutError:
            raise LocalFault(
                "not_joined", "The network could not be joined yet.", "Try again later."
            ) from None


def service_of(request: Request) -> Service:
    """The service of the request's application."""
    service: Service = request.app.state.service
    return service


def key_of(request: Request) -> ApiKey:
    """The key that the gate let in."""
    key: ApiKey = request.state.key
    return key
