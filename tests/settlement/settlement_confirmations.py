"""What every `ports.Settlement` must say about confirmed amounts, and after a reorganisation."""

from settlement_world import (
    ALICE,
    DELEGATE,
    FEE,
    PERIOD_SECONDS,
    SettlementSuite,
    World,
    alice,
    held_at,
    node,
    other_node,
)

from ricochet_protocol.ids import Period
from ricochet_protocol.money import Units
from ricochet_protocol.signing import account_address


class ConfirmationConformance(SettlementSuite):
    """Inherit, and give `world`."""

    def test_a_commitment_is_confirmed_when_blocks_lie_above_it(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            chain = world.settlement

            async def confirmed() -> tuple[Units, Units]:
                held = await chain.commitment(alice, Period(1), node)
                return held.committed, held.confirmed

            await chain.reserve([self.reservation(world, 100)])
            assert await confirmed() == (100, 0)
            await world.mine(1)
            await chain.reserve([self.reservation(world, 150)])
            assert await confirmed() == (150, 0)
            await world.mine(1)
            assert await confirmed() == (150, 100)
            await world.mine(2)
            assert await confirmed() == (150, 150)

        self.run(body, confirmations=3)

    def test_what_was_earned_is_confirmed_over_all_periods(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            chain = world.settlement
            await chain.claim([self.voucher(world, 100)])
            await world.warp(PERIOD_SECONDS)
            await world.subscribe(ALICE, FEE, account_address(DELEGATE))
            await chain.claim([self.voucher(world, 20, period=2)])
            assert await chain.earned(alice, node) == 100
            await world.mine(2)
            assert await chain.earned(alice, node) == 120
            assert await chain.earned(alice, other_node) == 0

        self.run(body, confirmations=2)

    def test_what_the_chain_takes_back_is_no_longer_committed(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            chain = world.settlement
            await chain.reserve([self.reservation(world, 100)])
            await world.save()
            await chain.reserve([self.reservation(world, 150)])
            await chain.claim([self.voucher(world, 150)])
            assert await chain.commitment(alice, Period(1), node) == held_at(150, claimed=150)
            await world.restore()
            assert await chain.commitment(alice, Period(1), node) == held_at(100, claimed=0)
            assert await chain.earned(alice, node) == 0

        self.run(body)
