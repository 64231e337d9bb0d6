"""One timer for many waits."""

import asyncio

import pytest

from ricochet_node.deadline import Deadline


async def soon() -> str:
    await asyncio.sleep(0)
    return "there"


def test_waits_end_together_and_nothing_else_is_cancelled() -> None:
    async def scenario() -> None:
        with Deadline(asyncio.get_running_loop().time() + 0.05) as deadline:
            assert await deadline.wait(soon()) == "there"
            with pytest.raises(TimeoutError):
                await deadline.wait(asyncio.Event().wait())
            with pytest.raises(TimeoutError):
                await deadline.wait(asyncio.Event().wait())
            await asyncio.sleep(0)  # between waits, the task goes on
            task = asyncio.current_task()
            assert task is not None and not task.cancelling()

    asyncio.run(scenario())


def test_somebody_elses_cancellation_is_no_timeout() -> None:
    async def waiting() -> None:
        with Deadline(asyncio.get_running_loop().time() + 60) as deadline:
            await deadline.wait(asyncio.Event().wait())

    async def scenario() -> None:
        task = asyncio.create_task(waiting())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
