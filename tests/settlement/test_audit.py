"""The audit: everything accounted for after a real life, and every kind of lie found."""

import asyncio

import msgspec
import pytest
from chain_world import TREASURY, ChainWorld, open_world
from web3 import Web3

from ricochet_protocol.eip712 import Reservation, Voucher, sign_reservation, sign_voucher
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.money import Units, node_share
from ricochet_protocol.signing import account_address, peer_of
from ricochet_settlement.audit import Audit, OperatorAccount, SubscriberAccount, audit, judge
from ricochet_settlement.audit_facts import Claimed, Facts, Moved, gather
from ricochet_settlement.devchain.accounts import dev_key
from ricochet_settlement.link import Network
from ricochet_settlement.sender import Sender

ALICE, BOB, DELEGATE, FIRST, SECOND = (bytes([n]) * 32 for n in (0xA1, 0xB0, 0xDE, 1, 2))
FEE, HALF = Units(10_000_000), Units(5_000_000)
PAYOUT = Address("0x" + "9a" * 20)
alice, bob, first, second = (account_address(key) for key in (ALICE, BOB, FIRST, SECOND))


async def pay(world: ChainWorld, subscriber: Address, node: Address, amount: int) -> None:
    value = Voucher(subscriber=subscriber, node=node, period=Period(1), cumulative=Units(amount))
    done = await world.settlement.claim([sign_voucher(DELEGATE, world.settlement.domain, value)])
    assert done[0].accepted


async def act(world: ChainWorld, key: bytes, function: str, *arguments: object) -> None:
    """A write that the spine has no command for yet."""
    network = await Network.open(world.deployment)
    try:
        data = network.ricochet.encode_abi(function, arguments)
        sender = Sender(network.link, key)
        await sender.send(world.deployment.contract, bytes.fromhex(data[2:]))
    finally:
        await network.close()


async def live(world: ChainWorld) -> None:
    """Two subscribers, two operators, reservations, claims, a top-up and withdrawals."""
    for key, number in ((FIRST, 1), (SECOND, 2)):
        await world.register_node(key, peer_of(bytes([number]) * 32), (), PAYOUT)
    await world.subscribe(ALICE, FEE, account_address(DELEGATE))
    await world.subscribe(BOB, HALF, account_address(DELEGATE))
    held = Reservation(subscriber=alice, node=second, period=Period(1), total=Units(777))
    await world.settlement.reserve([sign_reservation(DELEGATE, world.settlement.domain, held)])
    await pay(world, alice, first, 1_001)
    await pay(world, alice, first, 3_333)
    await pay(world, bob, second, 9)
    await world.top_up(BOB, Units(13))
    await world.settlement.withdraw(first)


async def closed_life(world: ChainWorld) -> None:
    """A period is closed; one subscriber spends what came back, the other takes it out."""
    await live(world)
    await world.warp(38 * 24 * 3600)
    for subscriber in (alice, bob):
        await act(world, ALICE, "close", Web3.to_checksum_address(subscriber), 1)
    await world.subscribe(ALICE, FEE, account_address(DELEGATE))
    await act(world, BOB, "refund")
    await world.settlement.withdraw(TREASURY)


def after(url: str, life: object) -> tuple[Facts, Audit]:
    async def main() -> tuple[Facts, Audit]:
        async with open_world(url) as world, asyncio.timeout(60):
            await life(world)  # type: ignore[operator]
            network = await Network.open(world.deployment)
            try:
                return await gather(network), await audit(world.deployment)
            finally:
                await network.close()

    return asyncio.run(main())


@pytest.fixture(scope="module")
def lived(chain_url: str) -> tuple[Facts, Audit]:
    return after(chain_url, live)


def test_an_empty_contract_is_accounted_for(chain_url: str) -> None:
    async def nothing(world: ChainWorld) -> None:
        return None

    _, books = after(chain_url, nothing)
    assert books.accounted
    assert (books.deposits, books.operators, books.subscribers) == (0, (), ())


def test_a_running_network_is_accounted_for(lived: tuple[Facts, Audit]) -> None:
    _, books = lived
    assert books.discrepancies == ()
    assert books.accounted
    share = node_share(Units(3_333))
    assert books.operators == (
        OperatorAccount(operator=first, earned=share, withdrawn=share, withdrawable=Units(0)),
        OperatorAccount(
            operator=second, earned=Units(6), withdrawn=Units(0), withdrawable=Units(6)
        ),
    )
    assert books.commission == 3_333 - share + 3
    assert books.commission_withdrawn == 0
    assert books.subscribers == (
        SubscriberAccount(alice, FEE, Units(3_333), Units(FEE - 3_333), Units(0), Units(0)),
        SubscriberAccount(bob, Units(HALF + 13), Units(9), Units(HALF + 4), Units(0), Units(0)),
    )
    assert books.deposits == FEE + HALF + 13
    assert books.balance == books.liabilities == books.deposits - share


def test_closed_refunded_and_renewed_periods_are_accounted_for(chain_url: str) -> None:
    _, books = after(chain_url, closed_life)
    assert books.discrepancies == ()
    by_name = {account.subscriber: account for account in books.subscribers}
    # Alice's second period was paid from what the first left, so only the rest was pulled.
    assert by_name[alice].paid == FEE + 3_333
    assert by_name[alice].budget_left == FEE
    assert by_name[bob].refunded == HALF + 4
    assert by_name[bob].budget_left == 0
    assert books.commission_withdrawn == books.commission


def test_a_gift_of_tokens_is_noticed(chain_url: str) -> None:
    async def gift(world: ChainWorld) -> None:
        await live(world)
        network = await Network.open(world.deployment)
        try:
            data = network.token.encode_abi("mint", [network.ricochet.address, 5])
            sender = Sender(network.link, dev_key(0))
            await sender.send(world.deployment.token, bytes.fromhex(data[2:]))
        finally:
            await network.close()

    _, books = after(chain_url, gift)
    assert not books.accounted
    assert len(books.discrepancies) == 1
    assert "owns" in books.discrepancies[0]
    assert books.deposits == FEE + HALF + 13


def changed(facts: Facts, what: str) -> Facts:
    """The facts with one lie in them."""
    replace = msgspec.structs.replace
    alices = (alice, Period(1))
    if what == "an event is missing":
        return replace(facts, claimed=facts.claimed[:-1])
    if what == "an event is invented":
        fake = Claimed(alice, second, Period(1), Units(10), Units(7), Units(3))
        return replace(facts, claimed=(*facts.claimed, fake))
    if what == "a share is shifted":
        claim = facts.claimed[0]
        more = claim._replace(share=Units(claim.share + 1), commission=Units(claim.commission - 1))
        return replace(facts, claimed=(more, *facts.claimed[1:]))
    if what == "a deposit is hidden":
        return replace(facts, deposited=facts.deposited[:-1])
    if what == "a withdrawal is invented":
        return replace(facts, withdrawn=(*facts.withdrawn, Moved(second, Units(1))))
    if what == "a refund is invented":
        return replace(facts, refunded=(Moved(bob, Units(1)),))
    if what == "a reservation is hidden":
        return replace(facts, reserved=facts.reserved[1:])
    if what == "income is overstated":
        more_income = {**facts.withdrawable, second: Units(7)}
        return replace(facts, withdrawable=more_income)
    if what == "a refund is promised":
        return replace(facts, refundable={**facts.refundable, bob: Units(1)})
    if what == "a budget is overstated":
        view = facts.periods[alices]
        larger = view._replace(budget=Units(view.budget + 1))
        return replace(facts, periods={**facts.periods, alices: larger})
    if what == "a period is said to be closed":
        shut = facts.periods[alices]._replace(closed=True)
        return replace(facts, periods={**facts.periods, alices: shut})
    if what == "liabilities are understated":
        return replace(facts, liabilities=Units(facts.liabilities - 1))
    assert what == "a unit is missing from the balance"
    return replace(facts, balance=Units(facts.balance - 1))


@pytest.mark.parametrize(
    "what",
    [
        "an event is missing",
        "an event is invented",
        "a share is shifted",
        "a deposit is hidden",
        "a withdrawal is invented",
        "a refund is invented",
        "a reservation is hidden",
        "income is overstated",
        "a refund is promised",
        "a budget is overstated",
        "a period is said to be closed",
        "liabilities are understated",
        "a unit is missing from the balance",
    ],
)
def test_every_lie_is_found(lived: tuple[Facts, Audit], what: str) -> None:
    facts, _ = lived
    assert judge(facts).accounted
    books = judge(changed(facts, what))
    assert not books.accounted
    assert all(sentence for sentence in books.discrepancies)
