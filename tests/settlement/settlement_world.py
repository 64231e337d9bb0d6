"""What the suites on `ports.Settlement` share: a world, and papers that its people sign.

A `World` is one fresh contract, or its twin, with the writes that tests need. Accounts are fixed
keys, so that a failure reads the same everywhere.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ricochet_protocol.eip712 import (
    Reservation,
    SignedReservation,
    SignedVoucher,
    Voucher,
    sign_reservation,
    sign_voucher,
)
from ricochet_protocol.ids import Address, PeerId, Period
from ricochet_protocol.money import UNITS_PER_DOLLAR, Units
from ricochet_protocol.ports import Commitment, Outcome, Settlement
from ricochet_protocol.signing import account_address, peer_of

ALICE, DELEGATE, NEXT_DELEGATE, STRANGER = (bytes([n]) * 32 for n in (0xA1, 0xDE, 0xDF, 0x66))
OPERATOR, OTHER_OPERATOR = (bytes([n]) * 32 for n in (0x0A, 0x0B))
PAYOUT = Address("0x" + "9a" * 20)
PEER = peer_of(bytes([1]) * 32)
OTHER_PEER = peer_of(bytes([2]) * 32)
ADDRESSES = ("/ip4/127.0.0.1/tcp/4001",)
PERIOD_SECONDS = 30 * 24 * 3600
WINDOW_SECONDS = 7 * 24 * 3600
LEAD_SECONDS = 3 * 24 * 3600
GRACE_SECONDS = 24 * 3600
FEE = Units(10 * UNITS_PER_DOLLAR)
DONE = Outcome(accepted=True)

alice, node, other_node = (account_address(key) for key in (ALICE, OPERATOR, OTHER_OPERATOR))


class World(Protocol):
    """One contract and what tests do to it; keys are 32-byte private keys."""

    settlement: Settlement
    treasury: Address

    async def subscribe(self, key: bytes, fee: Units, delegate: Address) -> Period: ...

    async def top_up(self, key: bytes, amount: Units) -> None: ...

    async def renew(self, key: bytes) -> None: ...

    async def set_delegate(self, key: bytes, delegate: Address) -> None: ...

    async def register_node(
        self, key: bytes, peer: PeerId, addresses: tuple[str, ...], payout: Address
    ) -> None: ...

    async def warp(self, seconds: int) -> None: ...

    async def received(self, account: Address) -> Units: ...

    async def mine(self, blocks: int) -> None: ...

    async def save(self) -> None: ...

    async def restore(self) -> None: ...


def refused(reason: str) -> Outcome:
    return Outcome(accepted=False, reason=reason)


def held_at(committed: int, *, claimed: int) -> Commitment:
    """On a network that asks for no confirmations."""
    return Commitment(
        committed=Units(committed), claimed=Units(claimed), confirmed=Units(committed)
    )


class SettlementSuite:
    """Inherit, and give `world`."""

    def world(self, confirmations: int = 0) -> AbstractAsyncContextManager[World]:
        raise NotImplementedError

    def run(self, body: Callable[[World], Awaitable[None]], confirmations: int = 0) -> None:
        async def main() -> None:
            async with self.world(confirmations) as world, asyncio.timeout(60):
                await body(world)

        asyncio.run(main())

    def reservation(
        self,
        world: World,
        total: int,
        *,
        key: bytes = DELEGATE,
        period: int = 1,
        to: Address = node,
    ) -> SignedReservation:
        value = Reservation(subscriber=alice, node=to, period=Period(period), total=Units(total))
        return sign_reservation(key, world.settlement.domain, value)

    def voucher(
        self,
        world: World,
        cumulative: int,
        *,
        key: bytes = DELEGATE,
        period: int = 1,
        to: Address = node,
    ) -> SignedVoucher:
        value = Voucher(
            subscriber=alice, node=to, period=Period(period), cumulative=Units(cumulative)
        )
        return sign_voucher(key, world.settlement.domain, value)

    async def open(self, world: World, *, fee: Units = FEE, delegate: bytes = DELEGATE) -> None:
        await world.register_node(OPERATOR, PEER, ADDRESSES, PAYOUT)
        await world.subscribe(ALICE, fee, account_address(delegate))
