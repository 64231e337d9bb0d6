"""A node notices that it is cut off, once, and that it is back."""

import asyncio
import io
import json
from contextlib import AsyncExitStack

from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.peers import PeerNetwork
from ricochet_network.virtual_time import run_virtual
from ricochet_node.alerts import EVENTS
from ricochet_node.log import EventLog
from ricochet_node.reachability import LOOK, PATIENCE, Reachability
from ricochet_protocol.ids import NetworkId, PeerId
from ricochet_protocol.ports import Contact


class Watch:
    """A detector whose contact is set by hand, and what it logged."""

    def __init__(self) -> None:
        self.contact = Contact(known=2, connected=1)
        self.stream = io.StringIO()
        self.watch = Reachability(lambda: self.contact, EventLog(self.stream))

    def at(self, now: float, known: int, connected: int) -> list[str]:
        self.contact = Contact(known, connected)
        self.watch.check(now)
        return [json.loads(line)["event"] for line in self.stream.getvalue().splitlines()]


def test_it_is_told_once_after_a_while_and_taken_back() -> None:
    watch = Watch()
    assert watch.at(1_000, 2, 0) == []
    assert watch.at(1_000 + PATIENCE - 1, 2, 0) == []
    assert watch.at(1_000 + PATIENCE, 2, 0) == ["unreachable"]
    assert watch.at(9_000, 2, 0) == ["unreachable"]
    assert watch.at(9_001, 2, 1) == ["unreachable", "reachable"]
    line = json.loads(watch.stream.getvalue().splitlines()[0])
    assert (line["known"], line["seconds"]) == (2, 180) and line["hint"]
    assert EVENTS["unreachable"] == "node_unreachable"


def test_a_short_loss_starts_anew_and_who_is_alone_on_a_network_is_not_cut_off() -> None:
    watch = Watch()
    watch.at(0, 2, 0)
    watch.at(PATIENCE - 1, 2, 1)
    assert watch.at(PATIENCE, 2, 0) == []
    assert watch.at(2 * PATIENCE - 1, 2, 0) == []
    assert watch.at(9_000, 0, 0) == []
    assert watch.at(9_000 + PATIENCE, 0, 0) == []


def test_another_node_with_this_identity_is_told_once_and_told_how_to_mend() -> None:
    watch = Watch()
    for now in range(3):
        watch.contact = Contact(2, 1, ("/ip4/8.8.8.8/tcp/1/p2p/me",))
        watch.watch.check(now)
    (line,) = [json.loads(line) for line in watch.stream.getvalue().splitlines()]
    assert line["event"] == "identity_used_twice" and "8.8.8.8" in line["addresses"]
    assert "--home" in line["hint"]


def test_whether_others_can_dial_it_is_told_when_it_changes() -> None:
    watch = Watch()
    for reached in (None, False, False, True, None, True):
        watch.contact = Contact(2, 1, reached=reached, reached_at="/ip4/8.8.8.8/tcp/1")
        watch.watch.check(0)
    lines = [json.loads(line) for line in watch.stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["not_dialled", "dialled", "dialled"]
    assert "doctor" in lines[0]["hint"] and "8.8.8.8" in lines[1]["address"]


def test_a_partition_is_noticed_and_its_end() -> None:
    async def test() -> None:
        wires, stream = MemoryNetwork(), io.StringIO()
        async with AsyncExitStack() as stack:
            made: list[PeerNetwork] = []
            for seed in (b"\x01" * 32, b"\x02" * 32):
                bootstrap = made[0].addresses if made else ()
                peers = PeerNetwork(wires.transport(seed), seed, NetworkId("n"), bootstrap)
                stack.push_async_callback(peers.stop)
                await peers.start()
                made.append(peers)
            first, second = made
            contact = second.contact()
            assert (contact.known, contact.connected, contact.relays) == (1, 1, ())
            contact = first.contact()
            assert (contact.known, contact.connected) == (0, 1)
            task = asyncio.create_task(Reachability(second.contact, EventLog(stream)).run())
            wires.partition(first.peer, second.peer)
            await asyncio.sleep(PATIENCE / 2)
            assert second.contact().connected == 0 and not stream.getvalue()
            await asyncio.sleep(PATIENCE)
            assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
                "unreachable"
            ]
            wires.heal(first.peer, second.peer)
            await asyncio.sleep(60 + 2 * LOOK)
            assert json.loads(stream.getvalue().splitlines()[-1])["event"] == "reachable"
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run_virtual(test())


def test_a_node_that_nobody_can_dial_tells_of_its_relays_once() -> None:
    watch = Watch()
    steps: list[tuple[bool | None, tuple[str, ...]]] = [
        (None, ()), (False, ()), (False, ("R", "S")), (False, ("S",)), (False, ()), (False, ("T",)),
        (True, ("T",)), (True, ()),
    ]  # fmt: skip
    for now, (reached, relays) in enumerate(steps):
        found = tuple(PeerId(one) for one in relays)
        watch.contact = Contact(2, 1, reached=reached, relays=found)
        watch.watch.check(now)
    lines = [json.loads(line) for line in watch.stream.getvalue().splitlines()]
    told = ["not_dialled", "relayed", "relays_lost", "relayed", "dialled"]
    assert [line["event"] for line in lines] == told
    assert lines[1]["relays"] == "R S" and lines[2]["hint"]
