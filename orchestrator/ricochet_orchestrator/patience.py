"""How long a stream of replies is waited for: each reply buys the next one time, up to an end."""

import asyncio
from collections.abc import AsyncIterator

from ricochet_protocol.messages import Reply


class Patient:
    """Passes replies on; each one restarts the time limit, which never passes `end`."""

    def __init__(
        self, replies: AsyncIterator[Reply], limit: asyncio.Timeout, patience: float, end: float
    ) -> None:
        self._replies = replies
        self._limit = limit
        self._patience = patience
        self._end = end

    def __aiter__(self) -> AsyncIterator[Reply]:
        return self

    async def __anext__(self) -> Reply:
        reply = await anext(self._replies)
        now = asyncio.get_running_loop().time()
        self._limit.reschedule(min(now + self._patience, self._end))
        return reply
