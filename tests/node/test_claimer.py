"""Claiming: in batches, when it is worth it, and without losing anything to faults or restarts."""

import asyncio
from pathlib import Path

import pytest
from node_bench import OPERATOR, SUBSCRIBER, Bench, config, eventually, run

from ricochet_node import claimer as claimer_module
from ricochet_node.config import ClaimSettings
from ricochet_protocol.eip712 import Voucher, sign_voucher
from ricochet_protocol.errors import ChainError
from ricochet_protocol.ids import Period
from ricochet_protocol.money import Units
from ricochet_protocol.signing import account_address


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

    run(tmp_path, scenario, config(claim=ClaimSettings(minimum=Units(0), interval=1)))


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
        await bench.chain.claim([entry.voucher for entry in bench.ledger.unclaimed()])
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
