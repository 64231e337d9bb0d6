"""Work that asks the network, from the thread of a tool: with a loop and a limit of its own.

So it neither holds up light calls nor outlasts an editor's patience.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from ricochet_protocol.errors import LocalFault

LIMIT: Final = 50.0
"""Seconds: editors give a call up after 60."""
T = TypeVar("T")


def bounded(work: Coroutine[Any, Any, T]) -> T:
    """Do it to its end; LocalFault `too_slow` when that takes too long."""

    async def within() -> T:
        async with asyncio.timeout(LIMIT):
            return await work

    try:
        return asyncio.run(within())
    except TimeoutError:
        raise LocalFault(
            "too_slow",
            f"There was no answer within {LIMIT:.0f} s.",
            "See whether the chain and the peers can be reached: ricochet network status",
        ) from None
