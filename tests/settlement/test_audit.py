"""The audit: everything accounted for after a real life, and every kind of lie found."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from chain_world import TREASURY, ChainWorld, open_world
from web3 import Web3

from ricochet_protocol.eip712 import Reservation, Voucher, sign_reservation, sign_voucher
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.money import Units, node_share
from ricochet_protocol.signing import account_address, peer_of
from ricochet_settlement.audit import Audit, OperatorAccount, SubscriberAccount, audit, judge
from ricochet_settlement.audit_facts import Claimed, Facts, Moved, PeriodView, gather
from ricochet_settlement.devchain.accounts import dev_key
from ricochet_settlement.link import Network
from ricochet_settlement.sender import Sender

pytestmark = pytest.mark.slow
ALICE, BOB, DELEGATE, FIRST, SECOND = (bytes([n]) * 32 for n in (0xA1, 0xB0, 0xDE, 1, 2))
OWNER, HEIR = (bytes([n]) * 32 for n in (0x0E, 0x4E))
FEE, HALF = Units(10_000_000), Units(5_000_000)
PAYOUT = Address("0x" + "9a" * 20)
alice, bob, first, second = (account_address(key) for key in (ALICE, BOB, FIRST, SECOND))
owner, heir = (account_address(key) for key in (OWNER, HEIR))


async def pay(world: ChainWorld, subscriber: Address, node: Address, amount: int) -> None:
    value = Voucher(subscriber=subscriber, node=node, period=Period(1), cumulative=Units(amount))
    done = await world.settlement.claim([sign_voucher(DELEGATE, world.settlement.domain, value)])
    assert done[0].accepted


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
        await world.act(ALICE, "close", Web3.to_checksum_address(subscriber), 1)
    await world.subscribe(ALICE, FEE, account_address(DELEGATE))
    await world.act(BOB, "refund")
    await world.settlement.withdraw(TREASURY)


async def succession(world: ChainWorld) -> None:
    """The treasury changes hands between two claims, and a period is renewed ahead."""
    await live(world)
    for key in (OWNER, HEIR):
        await world.fund(key)
    await world.act(OWNER, "transferOwnership", Web3.to_checksum_address(heir))
    await world.act(HEIR, "acceptOwnership")
    await pay(world, alice, first, 4_333)
    await world.warp(28 * 24 * 3600)
    await world.renew(ALICE)
    await world.settlement.withdraw(owner)


def after(
    url: str, life: Callable[[ChainWorld], Awaitable[None]], treasury: Address = TREASURY
) -> tuple[Facts, Audit]:
    async def main() -> tuple[Facts, Audit]:
        async with open_world(url, treasury) as world, asyncio.timeout(60):
            await life(world)
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


def test_commission_stays_with_the_treasury_that_earned_it(chain_url: str) -> None:
    facts, books = after(chain_url, succession, owner)
    assert books.discrepancies == ()
    assert facts.treasuries == (owner, heir)
    earned = 3_333 - node_share(Units(3_333)) + 3
    assert facts.withdrawn[-1] == (owner, earned)
    assert facts.withdrawable[owner] == 0
    assert facts.withdrawable[heir] == 1_000 - node_share(Units(4_333), Units(3_333))
    assert (books.commission, books.commission_withdrawn) == (
        earned + facts.withdrawable[heir],
        earned,
    )
    assert facts.periods[alice, Period(2)].budget == FEE
    moved = tuple(claim._replace(treasury=heir) for claim in facts.claimed)
    assert not judge(msgspec.structs.replace(facts, claimed=moved)).accounted


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


def replaced(**changes: Callable[[Facts], object]) -> Callable[[Facts], Facts]:
    """A lie: the facts with some fields made anew from the true ones."""
    return lambda facts: msgspec.structs.replace(
        facts, **{name: make(facts) for name, make in changes.items()}
    )


def shifted(claim: Claimed) -> Claimed:
    return claim._replace(share=Units(claim.share + 1), commission=Units(claim.commission - 1))


def with_view(facts: Facts, **fields: object) -> dict[tuple[Address, Period], PeriodView]:
    key = alice, Period(1)
    return {**facts.periods, key: facts.periods[key]._replace(**fields)}  # type: ignore[arg-type]


FAKE = Claimed(alice, second, Period(1), Units(10), Units(7), Units(3), TREASURY)
LIES: dict[str, Callable[[Facts], Facts]] = {
    "an event is missing": replaced(claimed=lambda f: f.claimed[:-1]),
    "an event is invented": replaced(claimed=lambda f: (*f.claimed, FAKE)),
    "a share is shifted": replaced(claimed=lambda f: (shifted(f.claimed[0]), *f.claimed[1:])),
    "a deposit is hidden": replaced(deposited=lambda f: f.deposited[:-1]),
    "a withdrawal is invented": replaced(
        withdrawn=lambda f: (*f.withdrawn, Moved(second, Units(1)))
    ),
    "a refund is invented": replaced(refunded=lambda f: (Moved(bob, Units(1)),)),
    "a reservation is hidden": replaced(reserved=lambda f: f.reserved[1:]),
    "income is overstated": replaced(withdrawable=lambda f: {**f.withdrawable, second: Units(7)}),
    "a refund is promised": replaced(refundable=lambda f: {**f.refundable, bob: Units(1)}),
    "a budget is overstated": replaced(periods=lambda f: with_view(f, budget=Units(FEE + 1))),
    "a period is said to be closed": replaced(periods=lambda f: with_view(f, closed=True)),
    "liabilities are understated": replaced(liabilities=lambda f: Units(f.liabilities - 1)),
    "a unit is missing from the balance": replaced(balance=lambda f: Units(f.balance - 1)),
}


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_is_found(lived: tuple[Facts, Audit], lie: str) -> None:
    facts, _ = lived
    assert judge(facts).accounted
    books = judge(LIES[lie](facts))
    assert not books.accounted
    assert all(books.discrepancies)


def test_a_treasury_that_operates_a_node_is_accounted_for(lived: tuple[Facts, Audit]) -> None:
    facts, _ = lived
    commission = facts.withdrawable[TREASURY]
    merged = {first: Units(0), second: Units(facts.withdrawable[second] + commission)}
    claimed = tuple(claim._replace(treasury=second) for claim in facts.claimed)
    one = msgspec.structs.replace(facts, treasuries=(second,), claimed=claimed, withdrawable=merged)
    books = judge(one)
    assert books.accounted
    assert books.operators[1].earned == 6
    assert books.commission == commission
