"""What every `ports.Settlement` must do; `test_settlement_conformance.py` runs it."""

from settlement_world import (
    ADDRESSES,
    ALICE,
    DELEGATE,
    DONE,
    FEE,
    GRACE_SECONDS,
    LEAD_SECONDS,
    NEXT_DELEGATE,
    OPERATOR,
    OTHER_OPERATOR,
    OTHER_PEER,
    PAYOUT,
    PEER,
    PERIOD_SECONDS,
    STRANGER,
    WINDOW_SECONDS,
    SettlementSuite,
    World,
    alice,
    held_at,
    node,
    other_node,
    refused,
)

from ricochet_protocol.eip712 import SignedReservation, SignedVoucher
from ricochet_protocol.ids import PeerId, Period
from ricochet_protocol.money import Units, node_share
from ricochet_protocol.ports import Commitment, NodeRecord
from ricochet_protocol.signing import account_address


class SettlementConformance(SettlementSuite):
    """Inherit, and give `world`."""

    # Reading.

    def test_a_stranger_has_no_subscription_and_no_node(self) -> None:
        async def body(world: World) -> None:
            chain = world.settlement
            assert await chain.subscription(alice) is None
            assert await chain.node(node) is None
            assert await chain.nodes() == ()
            nothing = Commitment(committed=Units(0), claimed=Units(0))
            assert await chain.commitment(alice, Period(1), node) == nothing
            assert await chain.earned(alice, node) == 0
            assert await chain.withdrawable(node) == 0
            assert await chain.withdraw(node) == 0

        self.run(body)

    def test_a_subscription_shows_fee_delegate_and_span(self) -> None:
        async def body(world: World) -> None:
            assert await world.subscribe(ALICE, FEE, account_address(DELEGATE)) == 1
            found = await world.settlement.subscription(alice)
            assert found is not None
            assert (found.subscriber, found.period, found.budget) == (alice, 1, FEE)
            assert found.delegate == account_address(DELEGATE)
            assert (found.committed, found.paid) == (0, 0)
            assert found.end - found.start == PERIOD_SECONDS

        self.run(body)

    def test_the_latest_period_is_shown_after_renewal(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            await world.warp(PERIOD_SECONDS)
            await world.subscribe(ALICE, Units(FEE // 2), account_address(NEXT_DELEGATE))
            found = await world.settlement.subscription(alice)
            assert found is not None
            assert (found.period, found.budget) == (2, FEE // 2)
            assert found.delegate == account_address(NEXT_DELEGATE)

        self.run(body)

    def test_each_period_is_shown_with_the_delegate_of_now(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            chain = world.settlement
            first = await chain.period(alice, Period(1))
            assert first is not None and first == await chain.subscription(alice)
            await world.warp(PERIOD_SECONDS)
            await world.subscribe(ALICE, Units(FEE // 2), account_address(NEXT_DELEGATE))
            past = await chain.period(alice, Period(1))
            assert past is not None
            assert (past.period, past.budget, past.end) == (1, FEE, first.end)
            assert past.delegate == account_address(NEXT_DELEGATE)
            assert await chain.chain_time() >= first.end
            assert await chain.period(alice, Period(3)) is None
            assert await chain.period(alice, Period(0)) is None
            assert await chain.period(node, Period(1)) is None

        self.run(body)

    def test_a_period_renewed_ahead_begins_where_the_running_one_ends(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            chain = world.settlement
            first = await chain.subscription(alice)
            await world.warp(PERIOD_SECONDS - LEAD_SECONDS + 60)
            await world.renew(ALICE)
            assert first is not None and await chain.subscription(alice) == first
            ahead = await chain.period(alice, Period(2))
            assert ahead is not None
            assert (ahead.start, ahead.budget) == (first.end, FEE)
            await world.top_up(ALICE, Units(5))
            early = [self.reservation(world, 100, period=2)]
            assert await chain.reserve(early) == (refused("no_period"),)
            assert await chain.claim([self.voucher(world, 9, period=2)]) == (refused("no_period"),)
            await world.warp(LEAD_SECONDS)
            assert await chain.subscription(alice) == ahead
            assert await chain.reserve(early) == (DONE,)
            before = await chain.period(alice, Period(1))
            assert before is not None and before.budget == FEE + 5

        self.run(body)

    def test_nodes_come_in_order_of_registration_with_their_latest_entry(self) -> None:
        async def body(world: World) -> None:
            await world.register_node(OPERATOR, PEER, (), PAYOUT)
            await world.register_node(OTHER_OPERATOR, OTHER_PEER, ADDRESSES, PAYOUT)
            await world.register_node(OPERATOR, PEER, ADDRESSES * 2, PAYOUT)
            first = NodeRecord(operator=node, peer=PEER, addresses=ADDRESSES * 2, payout=PAYOUT)
            second = NodeRecord(
                operator=other_node, peer=OTHER_PEER, addresses=ADDRESSES, payout=PAYOUT
            )
            assert await world.settlement.nodes() == (first, second)
            assert await world.settlement.node(node) == first
            assert await world.settlement.node(other_node) == second

        self.run(body)

    def test_an_entry_that_names_no_peer_is_not_shown(self) -> None:
        async def body(world: World) -> None:
            await world.register_node(OTHER_OPERATOR, PeerId("Buy now!"), ADDRESSES, PAYOUT)
            await world.register_node(OPERATOR, PEER, ADDRESSES, PAYOUT)
            assert await world.settlement.node(other_node) is None
            assert [record.operator for record in await world.settlement.nodes()] == [node]

        self.run(body)

    # Reserving.

    def test_the_delegate_and_the_subscriber_may_reserve(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            chain = world.settlement
            assert await chain.reserve([self.reservation(world, 100)]) == (DONE,)
            assert await chain.reserve([self.reservation(world, 150, key=ALICE)]) == (DONE,)
            held = await chain.commitment(alice, Period(1), node)
            assert held == held_at(150, claimed=0)
            found = await chain.subscription(alice)
            assert found is not None and found.committed == 150

        self.run(body)

    def test_bad_reservations_are_skipped_one_by_one(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            batch = [
                self.reservation(world, 100),
                self.reservation(world, 100),
                self.reservation(world, 200, key=STRANGER),
                self.reservation(world, 200, period=2),
                self.reservation(world, FEE, to=other_node),
                self.reservation(world, FEE - 100, to=other_node),
            ]
            assert await world.settlement.reserve(batch) == (
                DONE,
                refused("not_raised"),
                refused("bad_signature"),
                refused("no_period"),
                refused("budget_exceeded"),
                DONE,
            )

        self.run(body)

    def test_a_batch_of_only_bad_reservations_changes_nothing(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            batch = [
                self.reservation(world, 100, key=STRANGER),
                self.reservation(world, FEE + 1),
                self.reservation(world, 100, period=2),
                self.reservation(world, 0),
            ]
            assert await world.settlement.reserve(batch) == (
                refused("bad_signature"),
                refused("budget_exceeded"),
                refused("no_period"),
                refused("not_raised"),
            )
            found = await world.settlement.subscription(alice)
            assert found is not None and found.committed == 0
            assert await world.settlement.reserve([]) == ()

        self.run(body)

    def test_a_top_up_can_be_reserved(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            beyond = self.reservation(world, FEE + 1)
            assert await world.settlement.reserve([beyond]) == (refused("budget_exceeded"),)
            await world.top_up(ALICE, Units(1))
            assert await world.settlement.reserve([beyond]) == (DONE,)

        self.run(body)

    def test_reservations_end_with_the_period(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            await world.warp(PERIOD_SECONDS)
            late = self.reservation(world, 100)
            assert await world.settlement.reserve([late]) == (refused("period_ended"),)

        self.run(body)

    def test_a_mangled_signature_is_only_a_bad_signature(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            good = self.reservation(world, 100)
            zeros = SignedReservation(reservation=good.reservation, signature=bytes(65))
            outcomes = await world.settlement.reserve([zeros, good])
            assert outcomes == (refused("bad_signature"), DONE)
            paper = self.voucher(world, 100)
            ones = SignedVoucher(voucher=paper.voucher, signature=b"\xff" * 65)
            outcomes = await world.settlement.claim([ones, paper])
            assert outcomes == (refused("bad_signature"), DONE)

        self.run(body)

    # Claiming.

    def test_a_claim_pays_the_node_its_share_and_the_treasury_the_rest(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            chain = world.settlement
            assert await chain.claim([self.voucher(world, 101)]) == (DONE,)
            assert await chain.withdrawable(node) == 70
            assert await chain.withdrawable(world.treasury) == 31
            held = await chain.commitment(alice, Period(1), node)
            assert held == held_at(101, claimed=101)
            assert await chain.earned(alice, node) == 101
            found = await chain.subscription(alice)
            assert found is not None and (found.committed, found.paid) == (101, 101)

        self.run(body)

    def test_the_cost_of_a_claim_is_told_without_claiming(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            chain, paper = world.settlement, self.voucher(world, 100)
            one, two = [await chain.claim_cost([paper] * count) for count in (1, 2)]
            assert 0 < one < two < 10**18
            assert await chain.withdrawable(node) == 0

        self.run(body)

    def test_splitting_a_claim_changes_nothing(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            batch = [self.voucher(world, amount) for amount in (1, 2, 4, 7, 9, 1003)]
            assert await world.settlement.claim(batch) == (DONE,) * 6
            assert await world.settlement.withdrawable(node) == node_share(Units(1003))

        self.run(body)

    def test_bad_vouchers_are_skipped_one_by_one(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            batch = [
                self.voucher(world, 100),
                self.voucher(world, 100),
                self.voucher(world, 200, key=STRANGER),
                self.voucher(world, 200, period=9),
                self.voucher(world, 200, to=other_node),
            ]
            assert await world.settlement.claim(batch) == (
                DONE,
                refused("not_raised"),
                refused("bad_signature"),
                refused("no_period"),
                refused("node_unknown"),
            )

        self.run(body)

    def test_a_voucher_within_its_commitment_is_paid_whatever_others_claim(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            await world.register_node(OTHER_OPERATOR, OTHER_PEER, ADDRESSES, PAYOUT)
            chain = world.settlement
            await chain.reserve([self.reservation(world, 1000)])
            greedy = self.voucher(world, 2 * FEE, to=other_node)
            assert await chain.claim([greedy, self.voucher(world, 1000)]) == (DONE, DONE)
            part = await chain.commitment(alice, Period(1), other_node)
            assert part.claimed == FEE - 1000
            whole = await chain.commitment(alice, Period(1), node)
            assert whole.claimed == 1000
            assert await chain.claim([greedy]) == (refused("nothing_payable"),)

        self.run(body)

    def test_the_rest_of_a_voucher_is_paid_after_a_top_up(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            chain = world.settlement
            large = self.voucher(world, FEE + 500)
            assert await chain.claim([large]) == (DONE,)
            await world.top_up(ALICE, Units(500))
            assert await chain.claim([large]) == (DONE,)
            assert await chain.withdrawable(node) == node_share(Units(FEE + 500))

        self.run(body)

    def test_claims_are_taken_until_the_window_ends(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            await world.warp(PERIOD_SECONDS + WINDOW_SECONDS - 600)
            assert await world.settlement.claim([self.voucher(world, 100)]) == (DONE,)
            await world.warp(600)
            late = self.voucher(world, 200)
            assert await world.settlement.claim([late]) == (refused("window_ended"),)

        self.run(body)

    def test_old_and_new_delegates_may_sign_for_an_earlier_period(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            await world.warp(PERIOD_SECONDS)
            await world.subscribe(ALICE, FEE, account_address(NEXT_DELEGATE))
            batch = [
                self.voucher(world, 100),
                self.voucher(world, 200, key=NEXT_DELEGATE),
                self.voucher(world, 100, period=2),
                self.voucher(world, 100, key=NEXT_DELEGATE, period=2),
            ]
            outcomes = await world.settlement.claim(batch)
            assert outcomes == (DONE, DONE, refused("bad_signature"), DONE)
            assert await world.settlement.claim([]) == ()

        self.run(body)

    def test_a_replaced_delegate_raises_commitments_for_a_day(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            chain = world.settlement
            await world.set_delegate(ALICE, account_address(NEXT_DELEGATE))
            found = await chain.subscription(alice)
            assert found is not None and found.delegate == account_address(NEXT_DELEGATE)
            assert await chain.reserve([self.reservation(world, 1000)]) == (DONE,)
            await world.warp(GRACE_SECONDS)
            late = self.reservation(world, 1001)
            assert await chain.reserve([late]) == (refused("bad_signature"),)
            batch = [
                self.voucher(world, 400),
                self.voucher(world, 2000),
                self.voucher(world, 2001),
                self.voucher(world, 2002, key=NEXT_DELEGATE),
            ]
            outcomes = await chain.claim(batch)
            assert outcomes == (DONE, DONE, refused("nothing_payable"), DONE)
            held = await chain.commitment(alice, Period(1), node)
            assert held == held_at(2002, claimed=2002)

        self.run(body)

    def test_a_delegate_replaced_in_a_renewed_period_has_no_power_in_the_next(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            await world.warp(PERIOD_SECONDS - 3600)
            await world.renew(ALICE)
            await world.set_delegate(ALICE, account_address(NEXT_DELEGATE))
            await world.warp(3600)
            batch = [self.voucher(world, 10), self.voucher(world, 10, period=2)]
            assert await world.settlement.claim(batch) == (DONE, refused("bad_signature"))
            held = [self.reservation(world, 10, period=2)]
            assert await world.settlement.reserve(held) == (refused("bad_signature"),)

        self.run(body)

    # Withdrawing.

    def test_earnings_go_to_the_payout_once(self) -> None:
        async def body(world: World) -> None:
            await self.open(world)
            chain = world.settlement
            await chain.claim([self.voucher(world, 1000)])
            assert await chain.withdraw(node) == 700
            assert await chain.withdraw(node) == 0
            assert await world.received(PAYOUT) == 700
            assert await chain.withdrawable(node) == 0
            assert await chain.withdraw(world.treasury) == 300
            assert await world.received(world.treasury) == 300

        self.run(body)
