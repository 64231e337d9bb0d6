"""Typed calls between peers: who serves what, how failures read, and how links behave."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.peers import PeerNetwork
from ricochet_network.virtual_time import run_virtual
from ricochet_protocol.errors import LocalFault, RemoteFault
from ricochet_protocol.ids import ModelId, NetworkId, PeerId, Period, RequestId
from ricochet_protocol.messages import Adverts, Ask, Chunk, GetAdverts, Reply, Request, Turn
from ricochet_protocol.mux import Data, Fail, decode_untrusted, encode
from ricochet_protocol.ports import Connection, Handler
from ricochet_protocol.signing import peer_of

NETWORK = NetworkId("test:1")


def seed(n: int) -> bytes:
    return n.to_bytes(32, "big")


def ask(text: str = "hello", model: str = "smollm2") -> Ask:
    return Ask(
        request_id=RequestId("0" * 32),
        period=Period(1),
        model=ModelId(model),
        turns=(Turn("user", text),),
        max_tokens=10,
        deadline=10,
    )


class Served:
    """A handler that streams words, and remembers who asked and what was closed."""

    def __init__(self) -> None:
        self.askers: list[PeerId] = []
        self.closed = 0

    async def __call__(self, peer: PeerId, request: Request) -> AsyncIterator[Reply]:
        assert isinstance(request, Ask)
        self.askers.append(peer)
        try:
            for word in request.turns[0].content.split():
                yield Chunk(word)
            if request.model == "busy":
                raise RemoteFault("busy", "no free slot", "ask another peer")
            if request.model == "disk":
                raise LocalFault("conflict", "another request has this id", "use a new id")
            if request.model == "bug":
                raise KeyError("the prompt: " + request.turns[0].content)
            if request.model == "slow":
                await asyncio.sleep(3600)
        finally:
            self.closed += 1


class World:
    def __init__(self, stack: AsyncExitStack) -> None:
        self.net = MemoryNetwork(latency=0.001)
        self.stack = stack

    async def peer(
        self, n: int, handler: Handler | None = None, bootstrap: tuple[str, ...] = ()
    ) -> PeerNetwork:
        peers = PeerNetwork(self.net.transport(seed(n)), seed(n), NETWORK, bootstrap, handler)
        self.stack.push_async_callback(peers.stop)
        await peers.start()
        return peers


@asynccontextmanager
async def node_and_client(
    handler: Handler,
) -> AsyncIterator[tuple[World, PeerNetwork, PeerNetwork]]:
    async with AsyncExitStack() as stack:
        world = World(stack)
        node = await world.peer(1, handler)
        yield world, node, await world.peer(2, bootstrap=node.addresses)


async def words(client: PeerNetwork, peer: PeerId, request: Request) -> list[str]:
    async with client.call(peer, request) as replies:
        return [reply.text async for reply in replies if isinstance(reply, Chunk)]


def test_replies_stream_and_the_handler_knows_who_asks() -> None:
    async def test() -> None:
        served = Served()
        async with node_and_client(served) as (_, node, client):
            assert await words(client, node.peer, ask("one two three")) == ["one", "two", "three"]
            assert served.askers == [client.peer] and served.closed == 1

    run_virtual(test())


def test_a_handler_failure_reads_as_what_it_is_and_leaks_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        async with node_and_client(Served()) as (_, node, client):
            for model, code, message in (
                ("busy", "busy", "no free slot"),
                ("disk", "conflict", "another request has this id"),
                ("bug", "internal", "the peer failed inside"),
            ):
                got: list[Reply] = []
                with pytest.raises(RemoteFault) as caught:
                    async with client.call(node.peer, ask("s3cret", model)) as replies:
                        async for reply in replies:
                            got.append(reply)
                assert got == [Chunk("s3cret")]
                assert (caught.value.code, caught.value.message) == (code, message)
                assert caught.value.hint

    with caplog.at_level(logging.DEBUG):
        run_virtual(test())
    assert "KeyError" in caplog.text and "s3cret" not in caplog.text


def test_leaving_the_call_closes_the_handler() -> None:
    async def test() -> None:
        served = Served()
        async with node_and_client(served) as (_, node, client):
            async with client.call(node.peer, ask("word", "slow")) as replies:
                assert await anext(replies) == Chunk("word")
            await asyncio.sleep(1)
            assert served.closed == 1

    run_virtual(test())


def test_a_peer_without_handler_refuses_calls() -> None:
    async def test() -> None:
        async with node_and_client(Served()) as (_, node, client):
            with pytest.raises(RemoteFault) as caught:
                await words(node, client.peer, ask())
            assert caught.value.code == "refused"

    run_virtual(test())


def test_who_is_not_known_is_unreachable() -> None:
    async def test() -> None:
        async with node_and_client(Served()) as (_, _, client):
            for peer in (peer_of(seed(9)), client.peer, PeerId("nobody")):
                with pytest.raises(RemoteFault) as caught:
                    await words(client, peer, ask())
                assert caught.value.code == "unreachable"

    run_virtual(test())


def test_a_lost_link_fails_its_calls_and_is_dialled_again_on_demand() -> None:
    async def test() -> None:
        async with node_and_client(Served()) as (world, node, client):
            running = asyncio.create_task(words(client, node.peer, ask("word", "slow")))
            await asyncio.sleep(1)
            world.net.drop(node.peer, client.peer)
            with pytest.raises(RemoteFault) as caught:
                await running
            assert caught.value.code == "disconnected"
            await asyncio.sleep(2)
            assert await words(client, node.peer, ask("back again")) == ["back", "again"]

    run_virtual(test())


def test_calls_share_one_connection_also_when_both_dial_at_once() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            addresses = [f"/memory/{n}/p2p/{peer_of(seed(n))}" for n in (1, 2)]
            served = [Served(), Served()]
            a = PeerNetwork(world.net.transport(seed(1)), seed(1), NETWORK, addresses, served[0])
            b = PeerNetwork(world.net.transport(seed(2)), seed(2), NETWORK, addresses, served[1])
            for peers in (a, b):
                stack.push_async_callback(peers.stop)
            await asyncio.gather(a.start(), b.start())
            answers = await asyncio.gather(
                *(words(a, b.peer, ask(f"a{n}")) for n in range(20)),
                *(words(b, a.peer, ask(f"b{n}")) for n in range(20)),
            )
            assert sorted(answer[0] for answer in answers) == sorted(
                [f"a{n}" for n in range(20)] + [f"b{n}" for n in range(20)]
            )
            await asyncio.sleep(5)
            assert world.net.connections(a.peer, b.peer) == 1
            assert await words(a, b.peer, ask("once more")) == ["once", "more"]

    run_virtual(test())


def test_a_failed_dial_is_not_repeated_for_every_call() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            absent = peer_of(seed(9))
            client = await world.peer(2, bootstrap=(f"/memory/9/p2p/{absent}",))
            loop = asyncio.get_running_loop()
            world.net.stall(absent)
            await asyncio.sleep(100)
            before = loop.time()
            faults = await asyncio.gather(
                *(words(client, absent, ask()) for _ in range(50)), return_exceptions=True
            )
            assert all(isinstance(one, RemoteFault) for one in faults)
            assert loop.time() - before <= 5.1

    run_virtual(test())


def test_a_cancelled_call_does_not_cancel_the_dial_of_others() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            node = await world.peer(1, Served())
            world.net.stall(node.peer)
            client = PeerNetwork(world.net.transport(seed(2)), seed(2), NETWORK, node.addresses)
            stack.push_async_callback(client.stop)
            starting = asyncio.create_task(client.start())
            await asyncio.sleep(0.1)
            first = asyncio.create_task(words(client, node.peer, ask("one")))
            second = asyncio.create_task(words(client, node.peer, ask("two")))
            await asyncio.sleep(0.1)
            first.cancel()
            world.net.resume(node.peer)
            assert await second == ["two"]
            await starting

    run_virtual(test())


async def raw(world: World, n: int, node: PeerNetwork) -> Connection:
    """A connection to the node from a peer that speaks as the test likes."""
    transport = world.net.transport(seed(n))

    async def ignore(connection: Connection) -> None:
        await asyncio.Event().wait()

    await transport.start(ignore)
    world.stack.push_async_callback(transport.stop)
    return await transport.dial(node.addresses, node.peer)


async def until_closed(connection: Connection) -> float:
    """The time at which the other side closes."""
    with pytest.raises(RemoteFault):
        while True:
            await connection.receive()
    return asyncio.get_running_loop().time()


def test_a_peer_that_sends_garbage_is_closed_and_disturbs_nobody() -> None:
    async def test() -> None:
        async with node_and_client(Served()) as (world, node, client):
            running = asyncio.create_task(words(client, node.peer, ask("word", "slow")))
            await asyncio.sleep(1)
            start = asyncio.get_running_loop().time()
            for n, payload in enumerate((b"garbage", bytes(60_000), encode(Data(1000, b"x")))):
                bad = await raw(world, 20 + n, node)
                await bad.send(payload)
                assert await until_closed(bad) - start < 1
            assert not running.done()
            assert await words(client, node.peer, ask("still here")) == ["still", "here"]
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run_virtual(test())


def test_a_peer_that_never_speaks_is_closed() -> None:
    async def test() -> None:
        async with node_and_client(Served()) as (world, node, client):
            start = asyncio.get_running_loop().time()
            silent = await raw(world, 20, node)
            assert await until_closed(silent) - start <= 8.1
            assert await words(client, node.peer, ask("still here")) == ["still", "here"]

    run_virtual(test())


def test_an_unreadable_request_fails_its_call_only() -> None:
    async def test() -> None:
        async with node_and_client(Served()) as (world, node, _):
            connection = await raw(world, 20, node)
            await connection.send(encode(Data(1, b"not a message")))
            while not isinstance(frame := decode_untrusted(await connection.receive()), Fail):
                continue
            assert (frame.id, frame.code) == (1, "garbage")

    run_virtual(test())


def test_a_reply_that_is_no_message_is_garbage() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            world = World(stack)
            transport = world.net.transport(seed(1))
            stack.push_async_callback(transport.stop)

            async def answer(connection: Connection) -> None:
                while True:
                    frame = decode_untrusted(await connection.receive())
                    if isinstance(frame, Data):
                        await connection.send(encode(Data(frame.id, b"nonsense")))

            await transport.start(answer)
            client = await world.peer(2, bootstrap=transport.addresses)
            with pytest.raises(RemoteFault) as caught:
                await words(client, transport.peer, ask())
            assert caught.value.code == "garbage"

    run_virtual(test())


def test_stop_may_be_repeated_and_leaves_no_task() -> None:
    async def test() -> None:
        async with node_and_client(Served()) as (_, node, client):
            running = asyncio.create_task(words(client, node.peer, ask("word", "slow")))
            await asyncio.sleep(1)
            await node.stop()
            await node.stop()
            with pytest.raises(RemoteFault):
                await running
            await client.stop()
            with pytest.raises(RemoteFault):
                await words(client, node.peer, ask())
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(test())


def test_anyone_may_ask_for_the_directory() -> None:
    async def test() -> None:
        async with (
            node_and_client(Served()) as (_, node, client),
            node.call(client.peer, GetAdverts()) as replies,
        ):
            assert [reply async for reply in replies if isinstance(reply, Adverts)] == []

    run_virtual(test())
