"""What the network looks like from one peer, over the in-memory network in virtual time."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from ricochet_cli.network_commands import report_text
from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.peers import PeerNetwork
from ricochet_network.virtual_time import run_virtual
from ricochet_orchestrator.network_reports import look, named, settled
from ricochet_protocol.advert import Advert, ModelOffer
from ricochet_protocol.errors import RemoteFault, UsageError
from ricochet_protocol.ids import Address, ModelId, NetworkId
from ricochet_protocol.money import PricePerMillion
from ricochet_protocol.signing import peer_of

NETWORK = NetworkId("test:1")
UNIX = 1_800_000_000


def seed(n: int) -> bytes:
    return n.to_bytes(32, "big")


def test_a_look_tells_offers_latency_reach_and_traffic() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            net = MemoryNetwork(latency=0.010)
            peers: list[PeerNetwork] = []
            for n in (1, 2, 3):
                first = peers[0].addresses if peers else ()
                one = PeerNetwork(
                    net.transport(seed(n)), seed(n), NETWORK, first, clock=lambda: float(UNIX)
                )
                stack.push_async_callback(one.stop)
                await one.start()
                peers.append(one)
            offer = ModelOffer(
                ModelId("m"), 2048, PricePerMillion(1), PricePerMillion(2), 4, free=3
            )
            for n in (1, 2):
                await peers[n - 1].publish(
                    Advert(
                        peer=peer_of(seed(n)),
                        addresses=peers[n - 1].addresses,
                        operator=Address("0x" + "0a" * 20),
                        network=NETWORK,
                        models=(offer,),
                        region="eu",
                        version="1",
                        seq=1,
                        issued_at=UNIX,
                        ttl=600,
                    )
                )
            viewer = peers[2]
            await asyncio.sleep(1)
            await settled(viewer)
            report = await look(viewer)
            assert (report.peer, report.known, report.connected) == (viewer.peer, 2, 2)
            assert {one.peer for one in report.peers} == {peers[0].peer, peers[1].peer}
            assert all(one.offers == (offer,) and one.region == "eu" for one in report.peers)
            for one in report.peers:
                assert one.latency == pytest.approx(0.020) and one.link is not None
            assert report.sent > 0 and report.received > report.sent
            assert await named(viewer, peers[0].peer[-8:]) == peers[0].peer
            for name in ("12D3", "nobody"):
                with pytest.raises(UsageError):
                    await named(viewer, name)
            net.stall(peers[1].peer)
            silent = {one.peer: one for one in (await look(viewer)).peers}[peers[1].peer]
            assert silent.latency is None
            await asyncio.sleep(10)
            assert peers[1].peer not in {one.peer for one in (await look(viewer)).peers}
            with pytest.raises(RemoteFault):
                await viewer.ping(peers[1].peer)

    run_virtual(test())


def test_who_is_reached_over_relays_only_is_told_as_that_and_not_waited_for() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            net = MemoryNetwork(latency=0.010)
            made: list[PeerNetwork] = []
            for n in (1, 2, 3):
                first = made[0].addresses if made else ()
                one = PeerNetwork(
                    net.transport(seed(n)), seed(n), NETWORK, first, clock=lambda: float(UNIX)
                )
                stack.push_async_callback(one.stop)
                await one.start()
                made.append(one)
            relay, hidden, viewer = made
            over = f"{relay.addresses[0]}/p2p-circuit/p2p/{hidden.peer}"
            await hidden.publish(
                Advert(
                    peer=hidden.peer,
                    addresses=(over,),
                    operator=Address("0x" + "0a" * 20),
                    network=NETWORK,
                    models=(),
                    region="",
                    version="1",
                    seq=1,
                    issued_at=UNIX,
                    ttl=600,
                )
            )
            await asyncio.sleep(1)
            start = asyncio.get_running_loop().time()
            await settled(viewer)
            assert asyncio.get_running_loop().time() - start < 0.1
            (seen,) = (await look(viewer)).peers
            assert (seen.peer, seen.relayed, seen.link) == (hidden.peer, True, None)
            assert "over a relay" in report_text(await look(viewer))

    run_virtual(test())
