"""Whom a node serves: the lists of node.yaml, and the private node that sells nothing."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from node_bench import DELEGATE_KEY, SUBSCRIBER, SUBSCRIBER_KEY, Bench, offer, run
from node_bench import config as node_config

from ricochet_node.config_values import Wrong
from ricochet_node.guests import Guests, guests
from ricochet_node.keystore import KeyInfo
from ricochet_node.sharing import kept_private, private_notices, standings
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import Address
from ricochet_protocol.signing import account_address

STRANGER_KEY = b"\x66" * 32
OTHER = account_address(STRANGER_KEY)


async def refused(bench: Bench, **changes: Any) -> RemoteFault:
    with pytest.raises(RemoteFault) as caught:
        await bench.client.hello(**changes)
    return caught.value


@pytest.mark.parametrize(
    ("lists", "served"),
    [
        ({}, True),
        ({"allow": [SUBSCRIBER]}, True),
        ({"allow": [SUBSCRIBER, OTHER]}, True),
        ({"deny": [OTHER]}, True),
        ({"allow": [OTHER]}, False),
        ({"deny": [SUBSCRIBER]}, False),
        ({"private": [OTHER]}, False),
    ],
)
def test_an_account_that_is_not_welcome_hears_so_at_hello(
    tmp_path: Path, lists: dict[str, list[str]], served: bool
) -> None:
    async def scenario(bench: Bench) -> None:
        if served:
            await bench.client.hello()
            return
        fault = await refused(bench)
        assert fault.code == "refused" and "does not serve your account" in fault.message

    known = {"private": (), "allow": (), "deny": ()} | lists
    run(tmp_path, scenario, node_config(guests=guests(**known)))


def private_node(*accounts: str) -> Any:
    return node_config(offers=kept_private([offer()]), guests=guests(accounts, (), ()))


def test_a_private_node_serves_its_owners_wallet_without_subscription_or_payment(
    tmp_path: Path,
) -> None:
    async def scenario(bench: Bench) -> None:
        (shown,) = bench.supply.capacity.shown()
        assert (shown.bases[0].kind, shown.price_in, shown.price_out) == ("private", 0, 0)
        state = await bench.client.hello(STRANGER_KEY, subscriber=OTHER)
        assert state.committed == 0
        text, answered = await bench.client.ask(bench.client.request(period=state.period))
        assert text and answered.receipt.receipt.cost == 0 == answered.receipt.receipt.due
        fault = await refused(bench)
        assert fault.code == "refused", "a paying stranger is a stranger"
        fault = await refused(bench, key=DELEGATE_KEY, subscriber=OTHER)
        assert fault.code in ("refused", "no_session"), "another key cannot speak for the wallet"

    run(tmp_path, scenario, private_node(OTHER))


@pytest.mark.parametrize("key", [SUBSCRIBER_KEY, DELEGATE_KEY], ids=["wallet", "session key"])
def test_a_private_node_serves_an_owner_who_also_subscribes(tmp_path: Path, key: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello(key)
        _, answered = await bench.client.ask()
        assert answered.receipt.receipt.cost == 0

    run(tmp_path, scenario, private_node(SUBSCRIBER))


def test_the_owner_of_a_private_node_reads_what_the_terms_say(tmp_path: Path) -> None:
    keys = [
        KeyInfo("mine", "x", "https://api.openai.com/v1", ""),
        KeyInfo("own", "x", "http://127.0.0.1:1/v1", ""),
        KeyInfo("host", "x", "https://api.example.com/v1", ""),
    ]
    first, denied, unknown = private_notices(standings(tmp_path, keys), 2)
    assert "2 account(s)" in first and "nothing is sold" in first
    assert "Services Agreement" in denied and "https://openai.com/" in denied
    assert "api.example.com" in unknown


@pytest.mark.parametrize(
    ("lists", "field"),
    [
        ((["0x12"], [], []), "private"),
        (([], ["nobody"], []), "allow"),
        (([], [], ["0x" + "g" * 40]), "deny"),
        (([OTHER], [OTHER], []), "private"),
        (([OTHER], [], [SUBSCRIBER]), "private"),
        (([], [OTHER], [OTHER.upper().replace("X", "x")]), "deny"),
        (([], [], [OTHER] * 10_001), "deny"),
    ],
)
def test_lists_that_make_no_sense_are_refused(lists: tuple[Any, Any, Any], field: str) -> None:
    with pytest.raises(Wrong, match=field):
        guests(*lists)


texts = st.lists(st.sampled_from([OTHER, SUBSCRIBER, OTHER.upper(), "", "0x", "漢"]), max_size=3)


@settings(max_examples=50)
@given(texts, texts, texts)
def test_any_lists_are_accounts_in_lower_case_or_refused(
    private: list[str], allow: list[str], deny: list[str]
) -> None:
    try:
        found = guests(private, allow, deny)
    except Wrong:
        return
    assert isinstance(found, Guests)
    assert not found.allow & found.deny and not (found.private and (found.allow or found.deny))
    everyone: set[Address] = {*found.private, *found.allow, *found.deny}
    assert everyone <= {OTHER, SUBSCRIBER}
