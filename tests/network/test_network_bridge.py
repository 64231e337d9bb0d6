"""The pipe between two loops: everything at once, in order, and few wake-ups."""

import asyncio

from ricochet_network.bridge import PIPE, AsyncioSignal, Pipe


class Counted(AsyncioSignal):
    """A signal that tells how often it was set."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.times = 0

    def set(self) -> None:
        self.times += 1
        super().set()


async def piped() -> tuple[Pipe, Counted, Counted]:
    readable, writable = Counted(), Counted()
    return Pipe(readable, writable), readable, writable


def test_its_reader_is_woken_once_for_all_that_it_finds() -> None:
    async def test() -> None:
        pipe, readable, _ = await piped()
        reader = asyncio.create_task(pipe.take())
        await asyncio.sleep(0)
        for part in (b"a", b"b", b"c"):
            assert await pipe.put(part)
        assert readable.times == 1
        assert await reader == b"abc"
        await pipe.put(b"d")
        assert readable.times == 2 and await pipe.take() == b"d"

    asyncio.run(test())


def test_a_full_pipe_holds_its_writers_until_it_is_read() -> None:
    async def test() -> None:
        pipe, _, _ = await piped()
        await pipe.put(bytes(PIPE))
        writers = [asyncio.create_task(pipe.put(bytes([n]))) for n in (1, 2)]
        await asyncio.sleep(0)
        assert not any(writer.done() for writer in writers)
        assert len(await pipe.take()) == PIPE
        assert await asyncio.gather(*writers) == [True, True]
        assert await pipe.take() == b"\x01\x02"

    asyncio.run(test())


def test_what_is_inside_a_closed_pipe_can_be_taken_and_nothing_goes_in() -> None:
    async def test() -> None:
        pipe, _, _ = await piped()
        await pipe.put(b"last")
        pipe.close()
        assert not await pipe.put(b"late")
        assert await pipe.take() == b"last" and await pipe.take() == b""

    asyncio.run(test())


def test_its_end_frees_a_writer_that_waits() -> None:
    async def test() -> None:
        pipe, _, _ = await piped()
        await pipe.put(bytes(PIPE))
        writer = asyncio.create_task(pipe.put(b"x"))
        await asyncio.sleep(0)
        pipe.close()
        assert not await writer

    asyncio.run(test())
