"""Whole networks that are bent and broken, replayable by seed; up to 200 peers (deep)."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

import pytest
from simulation import NETWORK, UNIX, Simulation, now, peer, place, seed_of, simulation

from ricochet_network.gossip import Gossip
from ricochet_network.links import Link
from ricochet_network.peers import PeerNetwork
from ricochet_network.virtual_time import run_virtual
from ricochet_protocol.advert import Advert
from ricochet_protocol.ids import Address
from ricochet_protocol.messages import Request

FIRST = (1, 2, 3)
LONG = (pytest.mark.deep, pytest.mark.timeout(600))
SIZES = [9, pytest.param(50, marks=pytest.mark.deep), pytest.param(200, marks=LONG)]


async def grown(s: Simulation, size: int) -> None:
    """`size` peers who all know each other."""
    await s.join_all(FIRST, FIRST[:1])
    await s.join_all(range(4, size + 1), FIRST)
    await s.until_complete(5)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtual(test())


@pytest.mark.parametrize("size", SIZES)
def test_news_and_newcomers_take_a_second_and_the_dead_are_gone_in_ten(size: int) -> None:
    async def test() -> None:
        async with simulation(1) as s:
            await grown(s, size)
            await asyncio.sleep(20)
            await s.publish(5)
            await asyncio.sleep(1)
            assert s.holding(5, 2) == size
            start = now()
            await s.join(size + 1, FIRST)
            assert s.view(size + 1) == {peer(n) for n in s.nodes} and now() - start <= 1
            await asyncio.sleep(20)
            await s.freeze(size)
            await asyncio.sleep(10)
            assert s.knowing(size) == 0 and s.complete()
            await s.kill(size - 1)
            await asyncio.sleep(10)
            assert s.knowing(size - 1) == 0 and s.complete()
            await asyncio.sleep(65)
            assert s.complete(), "a snapshot brought the dead back, or a check removed the living"

    run(test)


async def churned(seed: int, size: int, seconds: int) -> tuple[list[tuple[float, str]], list[int]]:
    """A network in which somebody joins, dies or falls silent every second; what happened."""
    async with simulation(seed) as s:
        s.net.loss = 0.02
        await grown(s, size)
        numbers = count(size + 1)
        for _ in range(seconds):
            await asyncio.sleep(1)
            victim = s.rng.choice(sorted(s.nodes.keys() - set(FIRST)))
            match s.rng.randrange(3):
                case 0:
                    await s.join(next(numbers), FIRST)
                case 1:
                    await s.kill(victim)
                case 2:
                    await s.freeze(victim)
        await s.until_complete(15)
        links = [link for n in sorted(s.nodes) for link in s.nodes[n].links()]
        return s.events, [link.received for link in links]


@pytest.mark.parametrize(("size", "seconds"), [(6, 4), (40, 4), pytest.param(200, 30, marks=LONG)])
def test_churn_ends_in_true_directories_and_its_seed_replays_it(size: int, seconds: int) -> None:
    first = run_virtual(churned(7, size, seconds))
    if size < 10:
        assert run_virtual(churned(7, size, seconds)) == first
        assert run_virtual(churned(8, size, seconds)) != first


def test_gossip_that_loses_half_its_messages_still_converges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tell = Gossip._tell

    async def test() -> None:
        async with simulation(2) as s:

            async def half(self: Gossip, link: Link, message: Request) -> None:
                if s.rng.random() < 0.5:
                    await tell(self, link, message)

            monkeypatch.setattr(Gossip, "_tell", half)
            await s.join_all(FIRST, FIRST[:1])
            await s.join_all(range(4, 10), FIRST)
            await s.until_complete(60)
            await s.publish(5)
            await s.kill(9)
            await asyncio.sleep(60)
            await s.until_complete(270)
            assert s.holding(5, 2) == len(s.nodes)

    run(test)


@pytest.mark.parametrize(
    ("size", "bootstrap_lives"),
    [
        (9, False),
        pytest.param(9, True, marks=pytest.mark.deep),
        pytest.param(100, False, marks=LONG),
    ],
)
def test_a_partition_makes_two_networks_and_heals(size: int, bootstrap_lives: bool) -> None:
    async def test() -> None:
        async with simulation(3) as s:
            await grown(s, size)
            await asyncio.sleep(20)
            if not bootstrap_lives:
                for n in FIRST:
                    await s.kill(n)
                # Everybody was linked to those; whom nobody is linked to is missed by nobody.
                await asyncio.sleep(20)
            left = {n for n in s.nodes if n % 2}
            right = s.nodes.keys() - left
            s.split(left, right)
            await asyncio.sleep(20)
            for n in s.nodes:
                assert s.view(n) == {peer(one) for one in (left if n % 2 else right)}
            s.heal(left, right)
            await s.until_complete(150)

    run(test)


@pytest.mark.parametrize("skew", [-600, pytest.param(600, marks=pytest.mark.deep)])
def test_clocks_that_are_ten_minutes_wrong_disturb_nobody(skew: int) -> None:
    async def test() -> None:
        async with simulation(4) as s:
            await s.join(1)
            for n in range(2, 8):
                await s.join(n, [1], skew=skew * (n % 2))
            await s.until_complete(2)
            await asyncio.sleep(40)
            assert s.complete()
            assert not [n for n in s.nodes for link in s.nodes[n].links() if link.score]

    run(test)


def test_clocks_twenty_minutes_apart_miss_each_other_and_nobody_is_banned() -> None:
    """Further apart than adverts are tolerated, which all others go on as if it were not so."""

    async def test() -> None:
        async with simulation(4) as s:
            for n in range(1, 7):
                await s.join(n, [1], skew=(0, -600, 600)[n % 3])
            await asyncio.sleep(40)
            for n in s.nodes:
                apart = {one for one in s.nodes if n % 3 and one % 3 == 3 - n % 3}
                assert s.view(n) == {peer(one) for one in s.nodes.keys() - apart}
                assert all(link.score < 100 for link in s.nodes[n].links())

    run(test)


def test_the_network_lives_on_without_its_first_peers_and_takes_newcomers() -> None:
    async def test() -> None:
        async with simulation(5) as s:
            await grown(s, 9)
            for n in FIRST:
                await s.kill(n)
            await s.publish(5)
            await s.join(10, (*FIRST, 9))
            await s.until_complete(10)
            assert s.holding(5, 2) == len(s.nodes)

    run(test)


def test_who_is_called_gone_by_a_liar_stays_and_his_word_goes_no_further() -> None:
    async def test() -> None:
        async with simulation(6) as s:
            await grown(s, 10)
            await asyncio.sleep(20)
            liar = s.nodes[4]
            for _ in range(3):
                for n in s.nodes:
                    if n != 8:
                        liar._gossip.mourn(peer(n))
                await asyncio.sleep(0.5)
            await asyncio.sleep(5)
            assert s.complete()

    run(test)


def test_two_nodes_with_one_identity_are_told_and_the_newest_word_counts() -> None:
    async def test() -> None:
        async with simulation(7) as s:
            await grown(s, 5)
            twin = PeerNetwork(
                s.net.transport(seed_of(5), "/memory/99"),
                seed_of(5),
                NETWORK,
                [place(1)],
                clock=lambda: UNIX + now(),
            )
            await twin.start()

            async def say(peers: PeerNetwork, seq: int) -> None:
                await peers.publish(
                    Advert(
                        peer=peer(5),
                        addresses=peers.addresses,
                        operator=Address("0x" + f"{5:040x}"),
                        network=NETWORK,
                        models=(),
                        region="",
                        version="1",
                        seq=seq,
                        issued_at=int(UNIX + now()),
                        ttl=90,
                    )
                )

            # Links to one identity go to whoever dialled last, so both dial again and again.
            await say(twin, 2)
            await asyncio.sleep(30)
            assert s.nodes[5].contact().twin == twin.addresses
            assert s.holding(5, 2) == 4, "all but the one who has been overtaken"
            await say(s.nodes[5], 3)
            await asyncio.sleep(30)
            assert twin.contact().twin == s.nodes[5].addresses
            assert s.holding(5, 3) == 5
            assert s.nodes[4].contact().twin == ()
            await twin.stop()
            await asyncio.sleep(90)
            assert s.nodes[5].contact().twin == (), "what is not said again is forgotten"

    run(test)
