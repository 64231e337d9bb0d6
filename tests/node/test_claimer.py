"""Claiming: in batches, when it is worth it, and without losing anything to faults or restarts."""

import asyncio
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from node_bench import (
    DELEGATE_KEY,
    FEE,
    OPERATOR,
    STRANGER_KEY,
    SUBSCRIBER,
    Bench,
    config,
    eventually,
    run,
)

from ricochet_node import claimer as claimer_module
from ricochet_node.app import _until_stopped
from ricochet_node.config import ClaimSettings, NodeConfig
from ricochet_node.log import EventLog
from ricochet_node.vault_process import VaultProcess
from ricochet_protocol.eip712 import (
    Reservation,
    SignedVoucher,
    Voucher,
    sign_reservation,
    sign_voucher,
)
from ricochet_protocol.errors import BudgetError, ChainError
from ricochet_protocol.ids import Period
from ricochet_protocol.money import Units
from ricochet_protocol.signing import account_address
from twins.settlement import CLAIM_WINDOW, PERIOD


def test_below_the_minimum_nothing_is_claimed(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(99)
        await bench.node.claimer.round()
        assert bench.chain.transactions == 0
        await bench.client.pay(100)
        await bench.node.claimer.round()
        assert bench.chain.received == {OPERATOR: 70}
        await bench.node.claimer.round()
        assert bench.chain.transactions == 2  # one claim, one withdrawal

    run(tmp_path, scenario)


def test_the_interval_claims_by_itself(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(1_000)
        await eventually(lambda: bench.chain.received == {OPERATOR: 700})

    run(
        tmp_path,
        scenario,
        config(claim=ClaimSettings(minimum=Units(0), interval=1, ether_price=Units(0))),
    )


def test_on_demand_the_minimum_does_not_matter(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(10)
        assert await bench.node.settle() == {"claimed": 10, "withdrawn": 7}
        assert await bench.node.settle() == {"claimed": 0, "withdrawn": 0}

    run(tmp_path, scenario)


def test_a_chain_that_is_away_is_logged_and_tried_again(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(1_000)
        bench.chain.reachable = False
        await bench.node.claimer.round()
        (event,) = bench.events("claim_failed")
        assert event["code"] == "chain_unreachable" and event["hint"]
        with pytest.raises(ChainError):
            await bench.node.claimer.settle()
        bench.chain.reachable = True
        await bench.node.claimer.round()
        assert bench.chain.received == {OPERATOR: 700}

    run(tmp_path, scenario)


def test_a_claim_that_was_not_noted_is_not_counted_twice(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(1_000)
        # As if the process had died between the transaction and its note.
        await bench.chain.claim([entry.voucher for entry in bench.ledger.live() if entry.voucher])
        assert bench.ledger.unclaimed_sum() == 1_000
        assert (await bench.node.claimer.settle()).withdrawn == 700
        assert bench.ledger.unclaimed_sum() == 0
        assert bench.chain.received == {OPERATOR: 700}

    run(tmp_path, scenario)


def test_what_the_budget_cannot_pay_is_given_up_until_a_higher_voucher(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(10_000_500)
        assert (await bench.node.claimer.settle()).claimed == 10_000_000
        assert (await bench.node.claimer.settle()).claimed == 0
        before = bench.chain.transactions
        await bench.node.claimer.round()
        assert bench.chain.transactions == before
        bench.chain.top_up(SUBSCRIBER, 1_000)
        await bench.client.pay(10_000_600)
        assert (await bench.node.claimer.settle()).claimed == 600

    run(tmp_path, scenario)


def test_many_vouchers_go_in_batches_and_one_bad_one_hinders_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claimer_module, "BATCH", 2)

    async def scenario(bench: Bench) -> None:
        for number in range(5):
            key = bytes([100 + number]) * 32
            account = account_address(key)
            bench.chain.subscribe(account, 5_000_000, account)
            signer = b"\x63" * 32 if number == 2 else key
            voucher = Voucher(account, OPERATOR, Period(1), Units(1_000))
            bench.ledger.accept(sign_voucher(signer, bench.chain.domain, voucher))
        settled = await bench.node.claimer.settle()
        assert (settled.claimed, settled.withdrawn) == (4_000, 2_800)
        assert bench.chain.transactions == 4  # three batches and the withdrawal
        (event,) = bench.events("claim_skipped")
        assert event["reason"] == "bad_signature"

    run(tmp_path, scenario)


def test_two_settlements_at_once_claim_once(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(1_000)
        settled = await asyncio.gather(bench.node.settle(), bench.node.settle())
        assert [one["claimed"] for one in settled] == [1_000, 0]

    run(tmp_path, scenario)


def eager(**changes: Any) -> NodeConfig:
    """Settings under which every round looks at the chain."""
    values: dict[str, Any] = {"minimum": Units(1_000), "ether_price": Units(0), "look": 0}
    return config(claim=ClaimSettings(**{**values, **changes}))


def test_gas_that_takes_too_large_a_share_postpones_the_claim(tmp_path: Path) -> None:
    # One voucher takes 75,000 gas: at a gwei and $4,000 thirty cents, 70 % of 43 cents.
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(4_200_000)
        await bench.node.claimer.round()
        assert bench.chain.transactions == 0
        (event,) = bench.events("claim_postponed")
        assert event["vouchers"] == 1
        await bench.client.pay(4_300_000)
        await bench.node.claimer.round()
        assert bench.chain.received == {OPERATOR: 3_010_000}

    run(tmp_path, scenario, eager(ether_price=Units(4_000_000_000)))


def test_a_small_voucher_does_not_ride_on_a_large_one(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(9_000_000)
        key = b"\x64" * 32
        account = account_address(key)
        bench.chain.subscribe(account, 5_000_000, account)
        small = Voucher(account, OPERATOR, Period(1), Units(500))
        bench.ledger.accept(sign_voucher(key, bench.chain.domain, small))
        await bench.node.claimer.round()
        assert bench.ledger.unclaimed_sum() == 500
        assert (await bench.node.claimer.settle()).claimed == 500

    run(tmp_path, scenario, eager(ether_price=Units(4_000_000_000)))


def test_below_the_minimum_it_is_claimed_before_the_window_ends(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(10)
        bench.chain.warp(PERIOD + CLAIM_WINDOW - ClaimSettings().before_expiry - 1)
        await bench.node.claimer.round()
        assert bench.chain.transactions == 0
        bench.chain.warp(1)
        await bench.node.claimer.round()
        assert await bench.chain.withdrawable(OPERATOR) == 7  # too little to send on
        assert bench.chain.transactions == 1
        await bench.node.claimer.round()
        assert bench.chain.transactions == 1
        assert await bench.node.withdraw() == {"withdrawn": 7}

    run(tmp_path, scenario, eager())


def test_between_looks_a_small_amount_leaves_the_chain_alone(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(10)
        await bench.node.claimer.round()
        bench.chain.reachable = False
        await bench.node.claimer.round()
        assert bench.events("claim_failed") == []

    run(tmp_path, scenario, eager(look=3600))


def test_an_expired_voucher_is_told_once(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(10)
        bench.chain.warp(PERIOD + CLAIM_WINDOW)
        await bench.node.claimer.round()
        await bench.node.claimer.round()
        (event,) = bench.events("claim_skipped")
        assert (event["reason"], event["units"]) == ("window_ended", 10)
        assert bench.chain.transactions == 0

    run(tmp_path, scenario, eager())


def test_another_delegate_on_the_chain_forces_the_claim(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(10)
        bench.chain.warp(PERIOD)
        bench.chain.subscribe(SUBSCRIBER, FEE, account_address(DELEGATE_KEY))
        await bench.node.claimer.round()
        assert bench.chain.transactions == 0
        bench.chain.warp(PERIOD)
        bench.chain.subscribe(SUBSCRIBER, FEE, account_address(STRANGER_KEY))
        bench.ledger.accept(bench.client.voucher(20, period=Period(2)))
        await bench.node.claimer.round()
        held = await bench.chain.commitment(SUBSCRIBER, Period(2), OPERATOR)
        assert held.claimed == 20

    run(tmp_path, scenario, eager())


def test_a_replaced_delegates_voucher_is_paid_while_he_can_still_raise(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(10)
        bench.chain.set_delegate(SUBSCRIBER, account_address(STRANGER_KEY))
        await bench.node.claimer.round()
        held = await bench.chain.commitment(SUBSCRIBER, Period(1), OPERATOR)
        assert held.claimed == 10

    run(tmp_path, scenario, eager())


def test_a_later_commitment_makes_an_old_delegates_voucher_payable_again(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.commit(2_000)
        await bench.client.pay(5_000)
        bench.chain.set_delegate(SUBSCRIBER, account_address(STRANGER_KEY))
        bench.chain.warp(25 * 3600)  # the node slept through the day of grace
        for _ in range(3):
            await bench.node.claimer.round()
        (event,) = bench.events("claim_skipped")
        assert (event["reason"], event["units"]) == ("nothing_payable", 3_000)
        before = bench.chain.transactions
        await bench.node.claimer.round()
        assert bench.chain.transactions == before
        value = Reservation(SUBSCRIBER, OPERATOR, Period(1), Units(5_000))
        await bench.chain.reserve([sign_reservation(STRANGER_KEY, bench.chain.domain, value)])
        await bench.node.claimer.round()
        assert bench.chain.received == {OPERATOR: 3_500}

    run(tmp_path, scenario, eager())


def test_a_top_up_makes_the_same_voucher_payable_again(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(10_002_000)
        await bench.node.claimer.round()
        assert bench.ledger.unclaimed_sum() == 2_000
        before = bench.chain.transactions
        for _ in range(3):
            await bench.node.claimer.round()
        assert bench.chain.transactions == before  # nobody pays gas to hear no again
        (event,) = bench.events("claim_skipped")
        assert (event["reason"], event["given_up"]) == ("nothing_payable", True)
        assert bench.ledger.unclaimed_sum() == 0
        bench.chain.top_up(SUBSCRIBER, 5_000)
        await bench.node.claimer.round()
        assert bench.chain.received == {OPERATOR: 7_001_400}

    run(tmp_path, scenario, eager())


def test_a_reorganisation_that_takes_a_claim_back_is_noticed(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(2_000)
        before = copy.deepcopy(bench.chain.__dict__)
        assert (await bench.node.claimer.settle()).claimed == 2_000
        bench.chain.__dict__.update(before)
        await bench.node.claimer.round()
        await bench.node.claimer.round()
        assert bench.chain.received == {OPERATOR: 1_400}

    run(tmp_path, scenario, eager())


def test_failures_are_retried_soon_then_at_the_interval(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        claimer = bench.node.claimer
        await bench.client.hello()
        await bench.client.pay(2_000)
        assert claimer.pause == 600
        bench.chain.reachable = False
        pauses = []
        for _ in range(8):
            await claimer.round()
            pauses.append(claimer.pause)
        assert pauses == [15, 30, 60, 120, 240, 480, 600, 600]
        bench.chain.reachable = True
        await claimer.round()
        assert claimer.pause == 600 and bench.chain.received == {OPERATOR: 1_400}

    run(tmp_path, scenario, eager())


def test_an_empty_gas_account_is_logged_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        async def poor(vouchers: Sequence[SignedVoucher]) -> None:
            raise BudgetError("no_gas_money", "the account is empty", "send ether")

        await bench.client.hello()
        await bench.client.pay(2_000)
        with monkeypatch.context() as patched:
            patched.setattr(bench.chain, "claim", poor)
            await bench.node.claimer.round()
        (event,) = bench.events("claim_failed")
        assert (event["code"], event["hint"]) == ("no_gas_money", "send ether")
        await bench.node.claimer.round()
        assert bench.chain.received == {OPERATOR: 1_400}

    run(tmp_path, scenario, eager())


class _Vault(VaultProcess):
    """A vault that never ends by itself."""

    def __init__(self) -> None:
        self._end = asyncio.Event()

    async def exited(self) -> int:
        await self._end.wait()
        return 0


def test_a_node_that_stops_claims_what_is_above_the_minimum(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        stop = asyncio.Event()
        stop.set()
        log = EventLog(bench.log_text)
        await bench.client.hello()
        await bench.client.pay(999)
        await _until_stopped(bench.node, _Vault(), stop, log)
        assert bench.chain.transactions == 0
        await bench.client.pay(1_000)
        await _until_stopped(bench.node, _Vault(), stop, log)
        assert bench.chain.received == {OPERATOR: 700}
        assert bench.events("stopped")

    run(tmp_path, scenario, eager())


def test_a_slow_chain_does_not_keep_a_node_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claimer_module, "LAST_CLAIM_SECONDS", 0.05)

    async def scenario(bench: Bench) -> None:
        async def hangs(vouchers: Sequence[SignedVoucher]) -> None:
            await asyncio.Event().wait()

        await bench.client.hello()
        await bench.client.pay(2_000)
        with monkeypatch.context() as patched:
            patched.setattr(bench.chain, "claim", hangs)
            await bench.node.claimer.finish()
        (event,) = bench.events("last_claim_late")
        assert event["unclaimed"] == 2_000
        assert (await bench.node.claimer.settle()).claimed == 2_000

    run(tmp_path, scenario, eager())
