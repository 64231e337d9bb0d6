"""How a connection comes about: straight first, over a relay a moment later, the first one wins."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from ricochet_network.dialling import DIAL_TIMEOUT, HEAD_START, MAX_RELAYS, Dialler
from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.virtual_time import run_virtual
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import PeerId
from ricochet_protocol.ports import Connection
from ricochet_protocol.signing import peer_of

PEER = peer_of(b"\x01" * 32)
RELAYS = [peer_of(bytes([n]) * 32) for n in range(2, 8)]
STRAIGHT = f"/ip4/8.8.8.8/tcp/1/p2p/{PEER}"
NEVER = 1e9


def circuit(relay: PeerId) -> str:
    return f"/ip4/9.9.9.9/tcp/1/p2p/{relay}/p2p-circuit/p2p/{PEER}"


class End:
    """A connection of which only its end counts."""

    def __init__(self, relay: PeerId | None) -> None:
        self.remote, self.dialled, self.host, self.relay = PEER, True, "", relay
        self.closed = False

    async def send(self, payload: bytes) -> None:
        raise NotImplementedError

    async def receive(self) -> bytes:
        raise NotImplementedError

    async def close(self) -> None:
        self.closed = True


class Ways:
    """A transport whose dials take as long, and end, as it is said."""

    def __init__(self, straight: float | str, over: Sequence[float | str] = ()) -> None:
        self.peer = RELAYS[-1]
        self.addresses: tuple[str, ...] = ()
        self._straight = straight
        self._over = dict(zip(RELAYS, over, strict=False))
        self.made: list[End] = []
        self.tried: list[PeerId | None] = []
        self.linked: list[tuple[PeerId, tuple[str, ...]]] = []
        self.dialler = Dialler(self, self.link)

    async def link(self, relay: PeerId, addresses: tuple[str, ...]) -> None:
        self.linked.append((relay, addresses))

    async def start(self, accept: Callable[[Connection], Awaitable[None]]) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError

    async def probe(self, addresses: Sequence[str], peer: PeerId) -> str:
        raise NotImplementedError

    async def reserve(self, relay: PeerId) -> float:
        raise NotImplementedError

    async def dial(self, addresses: Sequence[str], peer: PeerId) -> Connection:
        return await self._end(None, self._straight)

    async def dial_over(self, relay: PeerId, peer: PeerId) -> Connection:
        return await self._end(relay, self._over[relay])

    async def _end(self, relay: PeerId | None, way: float | str) -> Connection:
        self.tried.append(relay)
        if isinstance(way, str):
            raise RemoteFault(way, "no")
        await asyncio.sleep(way)
        end = End(relay)
        self.made.append(end)
        return end

    async def go(self, *addresses: str, straight_only: bool = False) -> tuple[PeerId | None, float]:
        """Over whom the connection that came about runs, and after how many seconds."""
        start = asyncio.get_running_loop().time()
        found = await self.dialler.dial(PEER, addresses, straight_only=straight_only)
        assert [one for one in self.made if not one.closed] == [found], "no other is left open"
        return found.relay, asyncio.get_running_loop().time() - start


def test_who_answers_straight_is_not_dialled_over_a_relay() -> None:
    async def test() -> None:
        ways = Ways(0.2, [0.0])
        relay, seconds = await ways.go(STRAIGHT, circuit(RELAYS[0]))
        assert relay is None and seconds == pytest.approx(0.2)
        assert ways.tried == [None] and not ways.linked

    run_virtual(test())


def test_a_port_that_swallows_everything_costs_a_moment() -> None:
    async def test() -> None:
        ways = Ways(NEVER, [0.1])
        relay, seconds = await ways.go(STRAIGHT, circuit(RELAYS[0]))
        assert relay == RELAYS[0] and seconds == pytest.approx(HEAD_START + 0.1)
        assert ways.linked == [(RELAYS[0], (f"/ip4/9.9.9.9/tcp/1/p2p/{RELAYS[0]}",))]

    run_virtual(test())


def test_of_two_that_come_about_one_is_kept() -> None:
    async def test() -> None:
        ways = Ways(HEAD_START, [0.0])
        await ways.go(STRAIGHT, circuit(RELAYS[0]))
        assert len(ways.made) == 2

    run_virtual(test())


def test_relays_are_tried_one_after_the_other() -> None:
    async def test() -> None:
        ways = Ways(RemoteCode.UNREACHABLE, [RemoteCode.UNREACHABLE, NEVER, 0.5])
        relay, seconds = await ways.go(*map(circuit, RELAYS[:3]))
        assert relay == RELAYS[2] and seconds == pytest.approx(DIAL_TIMEOUT + 0.5)

    run_virtual(test())


@pytest.mark.parametrize(
    ("over", "code"),
    [
        ([RemoteCode.UNREACHABLE] * 5, RemoteCode.UNREACHABLE),
        ([RemoteCode.UNREACHABLE, RemoteCode.BUSY, RemoteCode.REFUSED], RemoteCode.BUSY),
        ([NEVER], RemoteCode.UNREACHABLE),
    ],
)
def test_why_nobody_was_reached(over: list[float | str], code: str) -> None:
    async def test() -> None:
        for straight in ((), (STRAIGHT,)):
            ways = Ways(RemoteCode.UNREACHABLE, over)
            with pytest.raises(RemoteFault) as caught:
                await ways.go(*straight, *map(circuit, RELAYS[: len(over)]))
            assert caught.value.code == code
            assert len(ways.linked) <= MAX_RELAYS and not ways.made

    run_virtual(test())


def test_a_relay_is_dialled_straight_only() -> None:
    async def test() -> None:
        ways = Ways(0.0, [0.0])
        addresses = (circuit(RELAYS[0]), STRAIGHT)
        assert await ways.go(*addresses, straight_only=True) == (None, 0.0)
        assert not ways.linked

    run_virtual(test())


def test_an_attempt_that_is_given_up_leaves_nothing_open() -> None:
    async def test() -> None:
        ways = Ways(NEVER, [NEVER])
        dialling = asyncio.create_task(ways.go(STRAIGHT, circuit(RELAYS[0])))
        await asyncio.sleep(1)
        dialling.cancel()
        await asyncio.gather(dialling, return_exceptions=True)
        assert dialling.cancelled() and asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(test())


def test_a_circuit_through_a_peer_that_names_itself_is_none() -> None:
    async def test() -> None:
        network = MemoryNetwork()
        here = network.transport(b"\x09" * 32)
        dialler = Dialler(here, Ways(0.0).link)
        with pytest.raises(RemoteFault) as caught:
            await dialler.dial(PEER, [circuit(PEER), "nonsense/p2p-circuit"], straight_only=False)
        assert caught.value.code == RemoteCode.UNREACHABLE

    run_virtual(test())
