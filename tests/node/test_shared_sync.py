"""Who waits for the disk waits for a sync that began after his write, and shares it."""

import asyncio
import threading
from pathlib import Path

import pytest

from ricochet_node import shared_sync
from ricochet_node.shared_sync import SharedSync


def test_waiters_share_a_sync_that_begins_after_their_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, begun, count = threading.Semaphore(0), threading.Semaphore(0), [0]

    def sync(_: int) -> None:
        count[0] += 1
        begun.release()
        assert go.acquire(timeout=10)
        if count[0] == 3:
            raise OSError("the disk is gone")

    monkeypatch.setattr(shared_sync, "_sync", sync)
    (tmp_path / "f").touch()

    async def scenario() -> None:
        file = SharedSync(tmp_path / "f")
        first = asyncio.create_task(file.done())
        await asyncio.to_thread(begun.acquire)
        later = [asyncio.create_task(file.done()) for _ in range(5)]
        await asyncio.sleep(0)
        later[0].cancel()
        go.release()
        await first
        assert not any(one.done() for one in later[1:]), "that sync may not have seen their writes"
        go.release()
        await asyncio.gather(*later[1:])
        assert count == [2]
        go.release()
        with pytest.raises(OSError, match="gone"):
            await file.done()
        go.release()
        file.close()

    asyncio.run(scenario())
