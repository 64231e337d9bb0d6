"""What only the real network can show: processes that die, strangers on the port, clean ends."""

import asyncio
import signal
import socket
import sys
import threading
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from ricochet_network import libp2p_transport
from ricochet_network.libp2p_transport import HANDSHAKE, Libp2pTransport
from ricochet_network.peers import PeerNetwork
from ricochet_protocol.errors import LocalFault, RemoteFault
from ricochet_protocol.ids import ModelId, NetworkId, PeerId, Period, RequestId
from ricochet_protocol.messages import Ask, Chunk, Turn
from ricochet_protocol.ports import Connection
from ricochet_protocol.signing import peer_of

PATIENCE = 30.0
NETWORK = NetworkId("test:1")


def seed(n: int) -> bytes:
    return n.to_bytes(32, "big")


def ask(text: str, model: str = "any") -> Ask:
    turns = (Turn("user", text),)
    return Ask(RequestId("0" * 32), Period(1), ModelId(model), turns, max_tokens=1, deadline=10)


async def forever(connection: Connection) -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def peer_process(number: int, *bootstrap: str) -> AsyncIterator[tuple[Process, str]]:
    """A running peer and its address; killed at the end."""
    program = str(Path(__file__).with_name("libp2p_peer.py"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", program, str(number), *bootstrap,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await process.stdout.readline()
        yield process, line.decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def client(*bootstrap: str) -> AsyncIterator[PeerNetwork]:
    peers = PeerNetwork(Libp2pTransport(seed(1)), seed(1), NETWORK, bootstrap)
    try:
        await peers.start()
        yield peers
    finally:
        await peers.stop()


async def directory_is(peers: PeerNetwork, expected: set[PeerId]) -> None:
    async with asyncio.timeout(PATIENCE):
        # The port offers a view, not an event.
        while {signed.advert.peer for signed in peers.directory()} != expected:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def test_a_killed_process_is_noticed_routed_around_and_leaves_the_directory() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(4 * PATIENCE))
            _, first = await stack.enter_async_context(peer_process(11))
            process, _ = await stack.enter_async_context(peer_process(12, first))
            survivor, victim = peer_of(seed(11)), peer_of(seed(12))
            peers = await stack.enter_async_context(client(first))
            await directory_is(peers, {survivor, victim})

            async def hang(peer: PeerId, started: asyncio.Event) -> None:
                async with peers.call(peer, ask("word", "slow")) as replies:
                    async for reply in replies:
                        assert reply == Chunk("word")
                        started.set()

            started = asyncio.Event()
            hanging = asyncio.create_task(hang(victim, started))
            await started.wait()
            process.kill()
            with pytest.raises(RemoteFault) as caught:
                await hanging
            assert caught.value.code == "disconnected"
            await directory_is(peers, {survivor})
            with pytest.raises(RemoteFault) as caught:
                await hang(victim, started)
            assert caught.value.code == "unreachable"
            async with peers.call(survivor, ask("still here")) as replies:
                assert [reply async for reply in replies] == [Chunk("still"), Chunk("here")]

    asyncio.run(test())


def test_a_stopped_process_is_noticed_by_its_silence() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(2 * PATIENCE))
            process, address = await stack.enter_async_context(peer_process(13))
            peers = PeerNetwork(
                Libp2pTransport(seed(1)), seed(1), NETWORK, [address], heartbeat=0.3
            )
            stack.push_async_callback(peers.stop)
            await peers.start()
            with pytest.raises(RemoteFault) as caught:
                async with peers.call(peer_of(seed(13)), ask("word", "slow")) as replies:
                    assert await anext(replies) == Chunk("word")
                    process.send_signal(signal.SIGSTOP)
                    await anext(replies)
            assert caught.value.code == "disconnected"

    asyncio.run(test())


def test_connections_that_come_and_go_leave_nothing_behind() -> None:
    async def test() -> None:
        a, b = Libp2pTransport(seed(1)), Libp2pTransport(seed(2))

        async def accept(connection: Connection) -> None:
            await connection.send(await connection.receive())

        await a.start(accept)
        await b.start(forever)
        for n in range(30):
            connection = await b.dial(a.addresses, a.peer)
            await connection.send(b"%d" % n)
            assert await connection.receive() == b"%d" % n
            await connection.close()
        async with asyncio.timeout(PATIENCE):
            while a._guard.open or a._accepting:  # noqa: ASYNC110 - trio's side has no event for us
                await asyncio.sleep(0.01)
        await a.stop()
        await b.stop()

    asyncio.run(test())


def test_a_port_in_use_says_what_to_do() -> None:
    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
            free = "/ip4/127.0.0.1/tcp/0"
            transport = Libp2pTransport(seed(1), listen=(free, address))
            with pytest.raises(LocalFault) as caught:
                await transport.start(forever)
            assert caught.value.code == "port_in_use" and address in caught.value.message
            assert caught.value.hint
            await transport.stop()

    asyncio.run(test())


def test_two_transports_cannot_share_a_port() -> None:
    async def test() -> None:
        first = Libp2pTransport(seed(1))
        await first.start(forever)
        second = Libp2pTransport(seed(2), listen=[first.addresses[0].partition("/p2p/")[0]])
        with pytest.raises(LocalFault):
            await second.start(forever)
        await first.stop()

    asyncio.run(test())


@pytest.mark.parametrize("address", ["", "/ip4/127.0.0.1/udp/1", "/ip4/127.0.0.1/tcp/70000"])
def test_an_address_that_cannot_be_listened_on_is_refused(address: str) -> None:
    async def test() -> None:
        with pytest.raises(LocalFault) as caught:
            await Libp2pTransport(seed(1), listen=[address]).start(forever)
        assert caught.value.code == "bad_address" and caught.value.hint

    asyncio.run(test())


def test_stop_leaves_neither_thread_nor_task() -> None:
    async def test() -> None:
        threads = set(threading.enumerate())
        a, b = Libp2pTransport(seed(1)), Libp2pTransport(seed(2))
        await a.start(forever)
        await b.start(forever)
        connection = await a.dial(b.addresses, b.peer)
        await connection.send(b"x")
        await a.stop()
        await b.stop()
        assert set(threading.enumerate()) == threads
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(test())


async def stranger(transport: Libp2pTransport, *sends: bytes) -> bytes:
    """Talk to the port as a stranger would; everything it answers until it closes."""
    host, port = transport.addresses[0].split("/")[2:5:2]
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        answer = b""
        for data in sends:
            writer.write(data)
            answer += await reader.read(1000)
        async with asyncio.timeout(2 * HANDSHAKE):
            return answer + await reader.read()
    except ConnectionError:
        return answer
    finally:
        writer.close()


def message(text: str) -> bytes:
    """One message of multistream-select."""
    return bytes([len(text) + 1]) + text.encode() + b"\n"


def test_strangers_on_the_port_disturb_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libp2p_transport, "HANDSHAKE", 1.0)  # of which the silent use all

    async def test() -> None:
        a, b = Libp2pTransport(seed(1)), Libp2pTransport(seed(2))
        arrived: asyncio.Queue[Connection] = asyncio.Queue()

        async def accept(connection: Connection) -> None:
            arrived.put_nowait(connection)
            await asyncio.Event().wait()

        await a.start(accept)
        await b.start(accept)
        hello = message("/multistream/1.0.0")
        strangers = [
            asyncio.create_task(stranger(a, *sends))
            for sends in (
                (),
                (b"GET / HTTP/1.1\r\n\r\n",),
                (bytes(100_000),),
                (hello,),
                (hello, message("/noise"), b"\x00\x05nonse" * 50),
            )
        ]
        here = await b.dial(a.addresses, a.peer)
        there = await arrived.get()
        await here.send(b"undisturbed")
        assert await there.receive() == b"undisturbed"
        await asyncio.gather(*strangers)
        await here.send(b"afterwards")
        assert await there.receive() == b"afterwards"
        assert arrived.empty()
        await a.stop()
        await b.stop()

    asyncio.run(test())


@pytest.mark.parametrize("protocol", ["/plaintext/2.0.0", "/tls/1.0.0", "/secio/1.0.0"])
def test_nothing_but_noise_is_agreed_on(protocol: str) -> None:
    async def test() -> None:
        transport = Libp2pTransport(seed(1))
        await transport.start(forever)
        host, port = transport.addresses[0].split("/")[2:5:2]
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(message("/multistream/1.0.0") + message(protocol))
        async with asyncio.timeout(PATIENCE):
            answer = await reader.readuntil(message("na"))
        assert answer == message("/multistream/1.0.0") + message("na")
        writer.close()
        await transport.stop()

    asyncio.run(test())
