"""Whom a newcomer dials: by what was earned and by chance, spread out, nobody's home network."""

import asyncio
from collections import Counter
from pathlib import Path
from random import Random

from chain_world import open_world
from hypothesis import given
from hypothesis import strategies as st
from settlement_world import ADDRESSES, OPERATOR, PAYOUT, PEER

from ricochet_protocol.ids import Address
from ricochet_protocol.money import Units
from ricochet_protocol.ports import NodeRecord
from ricochet_protocol.signing import peer_of
from ricochet_settlement.first_peers import FIRST_PEERS, first_peers
from ricochet_settlement.index_view import RankedNode

OPERATOR_OF_ALL = Address("0x" + "0a" * 20)


def ranked(number: int, *addresses: str, commission: int = 0) -> RankedNode:
    record = NodeRecord(OPERATOR_OF_ALL, peer_of(bytes([number]) * 32), addresses, PAYOUT)
    return RankedNode(record, Units(commission))


def drawn(*nodes: RankedNode, seed: int = 0, development: bool = False) -> tuple[str, ...]:
    return first_peers(nodes, Random(seed), development=development)


def test_half_of_the_first_are_those_whose_claims_brought_commission() -> None:
    honest = ranked(1, "/ip4/8.8.8.8/tcp/4001", commission=10**6)
    spam = [ranked(n, f"/ip4/9.{n}.0.1/tcp/4001") for n in range(2, 200)]
    first: Counter[bool] = Counter()
    for seed in range(50):
        found = drawn(honest, *spam, seed=seed)
        assert len(found) == len(set(found)) == FIRST_PEERS
        first[found[0] == f"/ip4/8.8.8.8/tcp/4001/p2p/{honest.record.peer}"] += 1
    assert first == {True: 50}
    assert len({drawn(*spam, seed=seed)[0] for seed in range(20)}) > 10


def test_one_network_is_dialled_once_and_only_global_ones() -> None:
    same = [ranked(n, f"/ip4/8.8.{n}.1/tcp/4001") for n in range(1, 20)]
    assert len(drawn(*same)) == 1
    assert len(drawn(*same, development=True)) == FIRST_PEERS
    both = ranked(30, "/ip4/8.8.8.8/tcp/1", "/ip6/2001:4860::1/tcp/2")
    assert len(drawn(both, *same)) <= 2
    home = ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.0.1", "100.64.0.1", "0.0.0.0"]
    for number, host in enumerate(home, start=1):
        assert drawn(ranked(number, f"/ip4/{host}/tcp/4001")) == ()
    assert drawn(ranked(1, "/ip6/::1/tcp/1", "/ip6/fe80::1%eth0/tcp/1", "/dns4/a.b/tcp/1")) == ()


def test_a_peer_id_must_be_the_nodes_own() -> None:
    own, other = peer_of(bytes([1]) * 32), peer_of(bytes([2]) * 32)
    wanted = (f"/ip4/8.8.8.8/tcp/1/p2p/{own}",)
    assert drawn(ranked(1, *wanted)) == drawn(ranked(1, "/ip4/8.8.8.8/tcp/1")) == wanted
    assert drawn(ranked(1, f"/ip4/8.8.8.8/tcp/1/p2p/{other}")) == ()
    for port in ("0", "65536", "-1", "1e3", "٣", "9" * 5000):
        assert drawn(ranked(1, f"/ip4/8.8.8.8/tcp/{port}")) == ()


@given(
    texts=st.lists(
        st.text(max_size=60)
        | st.lists(
            st.sampled_from(["", "ip4", "ip6", "tcp", "p2p", "8.8.8.8", "::1", "7", PEER]),
            max_size=9,
        ).map("/".join),
        max_size=8,
    ),
    development=st.booleans(),
)
def test_any_text_in_the_registry_is_an_address_or_passed_over(
    texts: list[str], development: bool
) -> None:
    node = ranked(1, *texts)
    for address in drawn(node, development=development):
        assert address.endswith(f"/p2p/{node.record.peer}")
        assert address.startswith(("/ip4/8.8.8.8/tcp/7/", "/ip6/::1/tcp/7/"))


def test_the_first_peers_are_those_of_the_chain(chain_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_world(chain_url, follow=tmp_path) as world, asyncio.timeout(60):
            assert await world.settlement.first_peers(Random(0)) == ()
            await world.register_node(OPERATOR, PEER, ADDRESSES, PAYOUT)
            found = await world.settlement.first_peers(Random(0))
            assert found == (f"{ADDRESSES[0]}/p2p/{PEER}",)

    asyncio.run(main())
