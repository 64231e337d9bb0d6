"""Five hosts with addresses of their own: delay, loss, a router in the way, and a partition.

Each is a process in a network namespace, and the wire between them is `hosts.Wire`. Where no
namespaces are allowed the test is skipped and says so.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hosts import Host, Hosts, Router, Unable, hosts

DELAY = 0.015
"""Seconds each way: across a country."""
LOSS = 0.01
OUTSIDE = "10.77.0.5"
HALVES = (("10.77.0.1", "10.77.0.4"), ("10.77.0.2", "10.77.0.3", OUTSIDE))


async def until(what: str, limit: float, holds: Callable[[], Awaitable[bool]]) -> float:
    """Seconds until something holds, looked at all the time."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    while not await holds():
        assert loop.time() - start < limit, f"{what}: not within {limit:.0f} s"
        await asyncio.sleep(0.25)
    return loop.time() - start


def knows(host: Host, peers: set[str]) -> Callable[[], Awaitable[bool]]:
    """Whether a host's directory holds exactly those peers."""

    async def looked() -> bool:
        return set((await host.state())["known"]) == peers

    return looked


async def five(made: Hosts) -> tuple[list[Host], Router]:
    """Two relays, a node, a client, and a node behind a router; the first is everybody's first."""
    router = Router("192.168.7.2", OUTSIDE)
    try:
        first = await made.start(1, "10.77.0.1", relay=True)
    except Unable as reason:
        pytest.skip(f"hosts need network namespaces: {reason}")
    to = first.addresses
    others = await asyncio.gather(
        made.start(2, "10.77.0.2", to, relay=True),
        made.start(3, "10.77.0.3", to),
        made.start(4, "10.77.0.4", to, offers=False),
        made.start(5, OUTSIDE, to, router=router),
    )
    return [first, *others], router


@pytest.mark.deep
@pytest.mark.timeout(400)
def test_five_hosts_one_behind_a_router_and_a_partition_that_heals() -> None:
    async def test() -> None:
        async with hosts(delay=DELAY, loss=LOSS) as made:
            (first, second, third, client, hidden), router = await five(made)
            nodes = {first.peer, second.peer, third.peer, hidden.peer}
            for host in (first, second, third, client, hidden):
                await until("everybody knows everybody", 30, knows(host, nodes))

            async def relayed() -> bool:
                return len((await hidden.state())["relays"]) == 2

            await until("the hidden node has relays", 90, relayed)
            state = await hidden.state()
            assert state["reached"] is False and state["seen_at"] == OUTSIDE
            assert router.turned_away, "somebody has tried to dial it"
            assert set(state["relays"]) == {first.peer, second.peer}

            async def called() -> bool:
                return "text" in await client.call(hidden.peer, "who is there")

            await until("the hidden node is called", 20, called)
            long = " ".join(f"word{n}" for n in range(3000))
            assert await client.call(hidden.peer, long) == {"text": long}
            assert (await client.state())["links"][hidden.peer] in state["relays"]
            assert made.wire.lost, "packets are lost all the time"

            made.wire.split(*HALVES)
            left, right = {first.peer}, {second.peer, third.peer, hidden.peer}
            for host, half in ((client, left), (third, right), (hidden, right)):
                await until("halves part", 60, knows(host, half))
            assert await third.call(hidden.peer, "still here") == {"text": "still here"}
            assert "fault" in await client.call(hidden.peer, "are you there")

            made.wire.heal()
            for host in (first, second, third, client, hidden):
                await until("halves meet", 150, knows(host, nodes))
            await until("the hidden node is called again", 60, called)

    asyncio.run(test())
