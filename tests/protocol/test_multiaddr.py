"""Addresses that strangers write: what of them may be dialled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_protocol.ids import PeerId
from ricochet_protocol.multiaddr import circuit_untrusted, is_circuit, place_untrusted, straight
from ricochet_protocol.signing import peer_of

PEER, RELAY = peer_of(b"\x01" * 32), peer_of(b"\x02" * 32)
GLOBAL = "/ip4/8.8.8.8/tcp/4001"
OVER = f"{GLOBAL}/p2p/{RELAY}/p2p-circuit"
PARTS = st.sampled_from(
    ["", "/ip4", "/8.8.8.8", "/10.0.0.1", "/tcp", "/4001", "/p2p", f"/{PEER}", f"/{RELAY}",
     "/p2p-circuit", "/ip6", "/::1", "/dns4", "/x"]
)  # fmt: skip


@pytest.mark.parametrize("text", [GLOBAL, f"{GLOBAL}/p2p/{PEER}"])
def test_an_address_of_a_peer(text: str) -> None:
    place = place_untrusted(text, PEER, public=True)
    assert place is not None and place.address == f"{GLOBAL}/p2p/{PEER}"


@pytest.mark.parametrize("text", [OVER, f"{OVER}/p2p/{PEER}"])
def test_a_circuit_names_its_relay(text: str) -> None:
    place = circuit_untrusted(text, PEER, public=True)
    assert place is not None and place.address == f"{OVER}/p2p/{PEER}"
    assert (place.relay, place.relay_address) == (RELAY, f"{GLOBAL}/p2p/{RELAY}")
    assert place_untrusted(text, PEER, public=False) is None, "it is no place to dial itself"


@pytest.mark.parametrize(
    "text",
    [
        f"{GLOBAL}/p2p/{PEER}",
        f"{GLOBAL}/p2p-circuit/p2p/{PEER}",
        f"{GLOBAL}/p2p/{PEER}/p2p-circuit",
        f"{GLOBAL}/p2p/nobody/p2p-circuit/p2p/{PEER}",
        f"{OVER}/p2p/{RELAY}",
        f"{OVER}/p2p/{PEER}/p2p-circuit/p2p/{PEER}",
        f"/ip4/10.0.0.1/tcp/4001/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
        f"/dns4/example.org/tcp/4001/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
    ],
)
def test_what_is_no_circuit_to_a_peer_on_a_public_network(text: str) -> None:
    assert circuit_untrusted(text, PEER, public=True) is None


def test_a_network_of_ones_own_may_have_relays_at_its_own_addresses() -> None:
    text = f"/ip4/10.0.0.1/tcp/4001/p2p/{RELAY}/p2p-circuit/p2p/{PEER}"
    place = circuit_untrusted(text, PEER, public=False)
    assert place is not None and place.relay_address == text.partition("/p2p-circuit")[0]


@given(st.lists(PARTS, max_size=10).map("".join), st.booleans())
def test_any_text_is_a_circuit_a_place_or_nothing(text: str, public: bool) -> None:
    place = place_untrusted(text, PEER, public=public)
    over = circuit_untrusted(text, PEER, public=public)
    assert place is None or over is None
    assert (over is None) or is_circuit(text)
    assert straight([text]) == (() if is_circuit(text) else (text,))
    if over is not None:
        assert over.relay != PEER and over.address.endswith(f"/p2p-circuit/p2p/{PEER}")
        if public:
            assert place_untrusted(over.relay_address, PeerId(over.relay), public=True)
