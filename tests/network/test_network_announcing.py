"""News goes out at once, and what comes meanwhile goes together."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from simulation import NETWORK, UNIX, peer, place, seed_of, simulation

from ricochet_network.announcing import OWED, Announcements
from ricochet_network.directory import BATCH
from ricochet_network.gossip import FEW, Gossip
from ricochet_network.links import Link
from ricochet_network.task_owner import TaskOwner
from ricochet_network.virtual_time import run_virtual
from ricochet_protocol.advert import Advert, SignedAdvert, sign_advert
from ricochet_protocol.ids import Address, PeerId
from ricochet_protocol.messages import Announce, Request

Tell = Callable[[Link, tuple[SignedAdvert, ...]], Awaitable[None]]


def signed(n: int, seq: int = 1) -> SignedAdvert:
    return sign_advert(
        seed_of(n),
        Advert(
            peer=peer(n),
            addresses=(place(n),),
            operator=Address("0x" + f"{n:040x}"),
            network=NETWORK,
            models=(),
            region="",
            version="1",
            seq=seq,
            issued_at=int(UNIX),
            ttl=600,
        ),
    )


class Telling:
    """A link that takes a second for each announcement, and what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[SignedAdvert, ...]] = []
        self.tasks = TaskOwner()
        self.announcements = Announcements(self._tell, self.tasks, random.Random(1))
        self.link: Any = type("Known", (), {"peer": peer(99)})()

    async def _tell(self, link: Link, adverts: tuple[SignedAdvert, ...]) -> None:
        assert link is self.link
        self.told.append(adverts)
        await asyncio.sleep(1)


def test_lone_news_leaves_at_once_and_the_rest_in_one_message_each_peers_newest_once() -> None:
    async def test() -> None:
        t = Telling()
        t.announcements.add(t.link, [signed(1)])
        await asyncio.sleep(0.1)
        for one in (signed(2), signed(3, 1), signed(3, 2), signed(4)):
            t.announcements.add(t.link, [one])
        assert t.told == [(signed(1),)]
        await asyncio.sleep(5)
        assert t.told[1:] == [(signed(2), signed(3, 2), signed(4))]
        t.announcements.add(t.link, [signed(5)])
        await asyncio.sleep(0.1)
        assert t.told[2:] == [(signed(5),)], "and it goes on"
        await t.tasks.stop()

    run_virtual(test())


def test_what_the_other_side_has_told_meanwhile_is_not_told_back() -> None:
    async def test() -> None:
        t = Telling()
        for one in (signed(1), signed(2), signed(3, 2)):
            t.announcements.add(t.link, [one])
            await asyncio.sleep(0.1)
        t.announcements.heard(peer(99), [signed(2), signed(3, 1)])
        t.announcements.heard(peer(98), [signed(3, 2)])
        await asyncio.sleep(5)
        assert t.told == [(signed(1),), (signed(3, 2),)]

    run_virtual(test())


def test_what_is_owed_goes_together_later_each_peers_newest_once() -> None:
    least, most = OWED

    async def test() -> None:
        t = Telling()
        t.announcements.owe(t.link, [signed(1), signed(2, 2)])
        await asyncio.sleep(least / 2)
        t.announcements.owe(t.link, [signed(2, 1), signed(3)])
        await asyncio.sleep(least / 2 - 0.01)
        assert t.told == []
        await asyncio.sleep(most - least + 0.02)
        assert t.told == [(signed(1), signed(2, 2), signed(3))]
        t.announcements.owe(t.link, [signed(4)])
        await asyncio.sleep(most + 1)
        assert t.told[1:] == [(signed(4),)], "and it goes on"
        await t.tasks.stop()

    run_virtual(test())


def test_what_is_owed_is_dropped_once_the_other_side_tells_it_or_is_told_it() -> None:
    async def test() -> None:
        t = Telling()
        t.announcements.owe(t.link, [signed(1, 2), signed(2, 1), signed(3), signed(4), signed(5)])
        t.announcements.heard(peer(99), [signed(1, 1), signed(2, 2), signed(3)])
        t.announcements.heard(peer(98), [signed(4)])
        t.announcements.add(t.link, [signed(5)])
        await asyncio.sleep(5)
        assert t.told == [(signed(5),), (signed(1, 2), signed(4))]
        t.announcements.owe(t.link, [signed(6)])
        t.announcements.heard(peer(99), [signed(6)])
        await asyncio.sleep(5)
        assert len(t.told) == 2, "nothing owed, nothing said"

    run_virtual(test())


def test_more_than_a_message_holds_goes_in_several() -> None:
    async def test() -> None:
        t = Telling()
        news = [signed(n) for n in range(1, BATCH + 3)]
        t.announcements.add(t.link, news)
        await asyncio.sleep(5)
        assert [len(one) for one in t.told] == [BATCH, 2]

    run_virtual(test())


def test_a_network_that_starts_at_once_makes_few_announcements(monkeypatch: Any) -> None:
    size, announced = 30, 0
    tell = Gossip._tell

    async def counted(self: Gossip, link: Link, message: Request) -> None:
        nonlocal announced
        announced += isinstance(message, Announce)
        await tell(self, link, message)

    async def test() -> int:
        monkeypatch.setattr(Gossip, "_tell", counted)
        async with simulation(1) as s:
            await s.join(1)
            await s.join_all(range(2, size + 1), [1])
            await s.until_complete(5)
            return sum(len(node.links()) for node in s.nodes.values())

    links = run_virtual(test())
    assert announced < 6 * links, "one for each advert and link would be thirty"


def test_news_of_others_goes_on_to_a_few_and_everybody_hears_of_it(monkeypatch: Any) -> None:
    size, (least, _) = 30, OWED
    announced: list[PeerId] = []
    tell = Gossip._tell

    async def counted(self: Gossip, link: Link, message: Request) -> None:
        if isinstance(message, Announce):
            announced.append(link.peer)
        await tell(self, link, message)

    async def test() -> int:
        monkeypatch.setattr(Gossip, "_tell", counted)
        async with simulation(1, mesh=size) as s:
            await s.join(1)
            await s.join_all(range(2, size + 1), [1])
            await s.until_complete(5)
            await asyncio.sleep(5)
            links = sum(len(node.links()) for node in s.nodes.values())
            announced.clear()
            await s.publish(1)
            await asyncio.sleep(0)
            own = set(announced)
            assert len(own) == len(s.nodes[1].links()), "our own goes to everybody at once"
            await asyncio.sleep(least / 2)
            assert s.holding(1, 2) == size, "before anything owed is paid"
            await asyncio.sleep(5)
            return links

    links = run_virtual(test())
    assert links > size * FEW * 2
    assert len(announced) < 0.6 * links, "over most connections once, and not from both sides"
