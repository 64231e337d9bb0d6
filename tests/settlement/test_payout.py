"""A change of payout with its notice and veto, and the role of the contract's owner."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from chain_world import ChainWorld, open_world

from ricochet_protocol.errors import ConfigurationError, RicochetError, UsageError
from ricochet_protocol.ids import Address
from ricochet_protocol.money import Units
from ricochet_protocol.signing import account_address, peer_of
from ricochet_settlement import subscriber
from ricochet_settlement.payout import apply_payout, cancel_payout, payout, queue_payout
from ricochet_settlement.treasury import (
    accept_treasury,
    contract_state,
    set_paused,
    transfer_treasury,
)

OPERATOR, PAID, ELSE = (bytes([n]) * 32 for n in (0x0A, 0x9A, 0xE1))
operator, paid, other = (account_address(key) for key in (OPERATOR, PAID, ELSE))
ZERO = Address("0x" + "00" * 20)
HOUR = 3600


def on_chain(
    url: str, body: Callable[[ChainWorld], Awaitable[None]], treasury: Address = paid
) -> None:
    async def main() -> None:
        async with open_world(url, treasury) as world, asyncio.timeout(60):
            await body(world)

    asyncio.run(main())


async def refusal(call: Awaitable[object], kind: type[RicochetError], code: str) -> RicochetError:
    with pytest.raises(kind) as caught:
        await call
    assert caught.value.code == code and caught.value.hint
    return caught.value


def test_a_payout_changes_after_its_notice_unless_it_is_vetoed(chain_url: str) -> None:
    async def body(world: ChainWorld) -> None:
        there = world.deployment
        await refusal(payout(there, operator), ConfigurationError, "not_registered")
        await world.register_node(OPERATOR, peer_of(OPERATOR), (), paid)
        await world.fund(PAID)
        await world.fund(ELSE)
        for call in (cancel_payout, apply_payout):
            await refusal(call(there, OPERATOR, operator), UsageError, "nothing_queued")
        await refusal(queue_payout(there, OPERATOR, paid), UsageError, "payout_unchanged")
        for dead in (ZERO, there.contract, there.token):
            await refusal(queue_payout(there, OPERATOR, dead), UsageError, "bad_address")
        await refusal(queue_payout(there, ELSE, paid), ConfigurationError, "not_registered")

        queued = await queue_payout(there, OPERATOR, other)
        assert (queued.current, queued.queued, queued.applicable) == (paid, other, False)
        assert queued.due == queued.now + 48 * HOUR
        await refusal(queue_payout(there, OPERATOR, other), UsageError, "payout_queued")
        veto = await refusal(cancel_payout(there, ELSE, operator), ConfigurationError, "no_veto")
        assert operator in veto.hint and paid in veto.hint
        assert (await cancel_payout(there, PAID, operator)).queued is None

        await queue_payout(there, OPERATOR, other)
        await world.warp(47 * HOUR)
        early = await refusal(apply_payout(there, ELSE, operator), UsageError, "payout_not_due")
        assert "in 1 h" in early.message and "UTC" in early.message
        await world.warp(HOUR)
        assert (await payout(there, operator)).applicable
        changed = await apply_payout(there, ELSE, operator)
        assert (changed.current, changed.queued) == (other, None)

    on_chain(chain_url, body)


def test_only_the_owner_pauses_and_only_who_is_offered_it_takes_over(chain_url: str) -> None:
    async def body(world: ChainWorld) -> None:
        there = world.deployment
        await world.fund(PAID)
        await world.fund(ELSE)
        stranger = await refusal(set_paused(there, ELSE, True), ConfigurationError, "not_owner")
        assert paid in stranger.hint
        await refusal(transfer_treasury(there, ELSE, other), ConfigurationError, "not_owner")
        await refusal(accept_treasury(there, ELSE), UsageError, "nothing_offered")
        await refusal(transfer_treasury(there, PAID, paid), UsageError, "treasury_unchanged")
        await refusal(transfer_treasury(there, PAID, ZERO), UsageError, "bad_address")

        for _ in range(2):
            assert (await set_paused(there, PAID, True)).paused
        fee = Units(10_000_000)
        halted = await refusal(
            subscriber.subscribe(there, ELSE, fee, other), ConfigurationError, "contract_paused"
        )
        assert "refund" in halted.hint
        assert not (await set_paused(there, PAID, False)).paused
        await subscriber.subscribe(there, ELSE, fee, other)

        offered = await transfer_treasury(there, PAID, other)
        assert (offered.treasury, offered.pending) == (paid, other)
        taken = await refusal(accept_treasury(there, PAID), ConfigurationError, "not_offered")
        assert other in taken.hint
        done = await accept_treasury(there, ELSE)
        assert done == await contract_state(there)
        assert (done.treasury, done.pending, done.paused) == (other, None, False)
        assert (done.held, done.owed, done.income, done.node_percent) == (fee, fee, 0, 70)
        await refusal(set_paused(there, PAID, True), ConfigurationError, "not_owner")

    on_chain(chain_url, body)
