"""The door: who may ask, pay and reserve, and what a hostile peer gets."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from node_bench import (
    DELEGATE_KEY,
    OPERATOR,
    STRANGER_KEY,
    SUBSCRIBER,
    SUBSCRIBER_KEY,
    Bench,
    run,
)

from ricochet_node.ledger import MAX_AMOUNT
from ricochet_protocol.eip712 import SignedVoucher
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import Address
from ricochet_protocol.messages import Pay, request_untrusted
from ricochet_protocol.mux import MAX_MESSAGE
from ricochet_protocol.ports import Outcome
from ricochet_protocol.signing import account_address, peer_of
from twins.settlement import CLAIM_WINDOW, PERIOD

OTHER = Address("0x" + "0c" * 20)


async def refused(work: Any, code: str) -> RemoteFault:
    with pytest.raises(RemoteFault) as caught:
        await work
    assert caught.value.code == code
    return caught.value


def test_hello_tells_how_the_account_stands(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        state = await bench.client.hello()
        assert (state.period, state.committed, state.due, state.voucher) == (1, 0, 0, None)
        await bench.client.reserve(50_000)
        await bench.client.pay(200)
        _, answered = await bench.client.ask()
        due = answered.receipt.receipt.due
        state = await bench.client.hello(SUBSCRIBER_KEY)
        assert (state.committed, state.due, state.credit) == (50_000, due, 0)
        assert state.voucher == bench.client.voucher(200)

    run(tmp_path, scenario)


def test_nothing_without_a_session(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await refused(bench.client.ask(), RemoteCode.NO_SESSION)
        await refused(bench.client.pay(1), RemoteCode.NO_SESSION)
        await refused(bench.client.reserve(1), RemoteCode.NO_SESSION)

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("key", "changes", "code"),
    [
        (STRANGER_KEY, {}, RemoteCode.NO_SESSION),
        (DELEGATE_KEY, {"client_peer": peer_of(b"\x09" * 32)}, RemoteCode.NO_SESSION),
        (DELEGATE_KEY, {"node_peer": peer_of(b"\x09" * 32)}, RemoteCode.NO_SESSION),
        (DELEGATE_KEY, {"expires": 1_800_000_000}, RemoteCode.NO_SESSION),
        (STRANGER_KEY, {"subscriber": account_address(STRANGER_KEY)}, RemoteCode.REFUSED),
    ],
)
def test_sessions_of_others_are_refused(
    tmp_path: Path, key: bytes, changes: dict[str, Any], code: str
) -> None:
    async def scenario(bench: Bench) -> None:
        await refused(bench.client.hello(key, **changes), code)
        await refused(bench.client.ask(), RemoteCode.NO_SESSION)

    run(tmp_path, scenario)


def test_a_session_ends_with_its_time_and_with_the_period(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        bench.chain.warp(3600)
        await refused(bench.client.ask(), RemoteCode.NO_SESSION)
        bench.chain.warp(PERIOD - 3600 - 30)
        await bench.client.hello()
        await refused(bench.client.ask(), RemoteCode.REFUSED)
        await bench.client.ask(bench.client.request(deadline=20))
        bench.chain.warp(30)
        await refused(bench.client.hello(), RemoteCode.REFUSED)

    run(tmp_path, scenario)


def test_an_unreachable_chain_is_the_nodes_own_trouble(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.chain.reachable = False
        fault = await refused(bench.client.hello(), RemoteCode.INTERNAL)
        assert "twin" not in fault.message
        (event,) = bench.events("failed")
        assert event["code"] == "chain_unreachable"

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        (STRANGER_KEY, {}),
        (DELEGATE_KEY, {"node": OTHER}),
        (DELEGATE_KEY, {"subscriber": OTHER}),
        (DELEGATE_KEY, {"period": 2}),
        (DELEGATE_KEY, {"cumulative": MAX_AMOUNT + 1}),
        (DELEGATE_KEY, {"cumulative": 2**64 - 1}),
    ],
)
def test_vouchers_that_pay_nobody_here_are_refused(
    tmp_path: Path, key: bytes, changes: dict[str, Any]
) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        amount = changes.pop("cumulative", 100)
        voucher = bench.client.voucher(amount, key, **changes)
        await refused(bench.client.send(Pay(voucher)), RemoteCode.REFUSED)
        assert bench.ledger.unclaimed_sum() == 0

    run(tmp_path, scenario)


def test_a_malformed_signature_is_garbage(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        value = bench.client.voucher(100).voucher
        for signature in (b"\0" * 65, b"\xff" * 65):
            voucher = SignedVoucher(signature=signature, voucher=value)
            await refused(bench.client.send(Pay(voucher)), RemoteCode.GARBAGE)

    run(tmp_path, scenario)


def test_only_a_higher_voucher_replaces_one(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        for amount, kept in ((100, 100), (50, 100), (100, 100), (101, 101)):
            state = await bench.client.pay(amount)
            assert state.voucher == bench.client.voucher(kept)

    run(tmp_path, scenario)


def test_a_voucher_for_the_last_period_is_taken_where_something_was_served(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.reserve(50_000)
        await bench.client.pay(105)
        await bench.client.ask()
        bench.chain.warp(PERIOD)
        bench.chain.subscribe(SUBSCRIBER, 10_000_000, account_address(DELEGATE_KEY))
        assert (await bench.client.hello()).period == 2
        assert (await bench.client.pay(106)).period == 1
        assert (await bench.node.claimer.settle()).claimed == 106

    run(tmp_path, scenario)


def test_a_reservation_is_relayed_once(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        assert (await bench.client.reserve(50_000)).committed == 50_000
        assert bench.chain.transactions == 1
        states = await asyncio.gather(*(bench.client.reserve(50_000) for _ in range(3)))
        assert {state.committed for state in states} == {50_000}
        assert bench.chain.transactions == 1

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("key", "changes"),
    [(STRANGER_KEY, {}), (DELEGATE_KEY, {"node": OTHER}), (DELEGATE_KEY, {"period": 2})],
)
def test_reservations_for_others_never_reach_the_chain(
    tmp_path: Path, key: bytes, changes: dict[str, Any]
) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await refused(bench.client.reserve(50_000, key, **changes), RemoteCode.REFUSED)
        # That was no failure on the chain, so the next one is still relayed.
        await bench.client.reserve(50_000)

    run(tmp_path, scenario)


def test_one_failed_reservation_is_the_last(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()

        async def overtaken(_: object) -> tuple[Outcome, ...]:
            return (Outcome(accepted=False, reason="budget_exceeded"),)

        bench.chain.reserve = overtaken  # type: ignore[method-assign]  # as if another node had it
        fault = await refused(bench.client.reserve(60_000), RemoteCode.REFUSED)
        assert "budget_exceeded" in fault.message
        fault = await refused(bench.client.reserve(50_000), RemoteCode.REFUSED)
        assert "earlier reservation" in fault.message

    run(tmp_path, scenario)


def test_only_raises_that_are_worth_their_gas_are_relayed(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        for total in (49_999, 10_000_001):
            fault = await refused(bench.client.reserve(total), RemoteCode.REFUSED)
            assert "$10.00" in fault.message and "$0.05" in fault.message
        await bench.client.reserve(9_960_000)
        await refused(bench.client.reserve(9_999_999), RemoteCode.REFUSED)
        assert (await bench.client.reserve(10_000_000)).committed == 10_000_000, "all that is left"
        assert bench.chain.transactions == 2

    run(tmp_path, scenario)


def test_a_reservation_that_waits_for_confirmation_is_not_relayed_again(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.chain.confirmations = 2
        await bench.client.hello()
        assert [(await bench.client.reserve(50_000)).committed for _ in range(2)] == [0, 0]
        bench.chain.mine(2)
        assert (await bench.client.reserve(50_000)).committed == 50_000
        assert bench.chain.transactions == 1

    run(tmp_path, scenario)


def test_a_chain_that_is_away_is_no_failure_of_the_reservation(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        bench.chain.reachable = False
        await refused(bench.client.reserve(50_000), RemoteCode.INTERNAL)
        bench.chain.reachable = True
        assert (await bench.client.reserve(50_000)).committed == 50_000

    run(tmp_path, scenario)


def test_garbage_from_a_peer_harms_nobody_else(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.open_account()
        hostile = bench.wires.transport(b"\x0a" * 32)
        await hostile.start(lambda connection: connection.close())
        connection = await hostile.dial(bench.node.status()["addresses"], bench.client.node)
        for payload in (b"\xc1", b"\x81\xa1t\xa1d", b"x" * 1000):
            try:
                await connection.send(payload)
            except RemoteFault:
                break
        with pytest.raises(RemoteFault):
            while True:
                await connection.receive()
        await hostile.stop()
        await bench.client.ask()

    run(tmp_path, scenario)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_fault(data: bytes) -> None:
    assert len(data) < MAX_MESSAGE
    try:
        request_untrusted(data)
    except RemoteFault as fault:
        assert fault.code == RemoteCode.GARBAGE


def test_the_claim_window_bounds_late_vouchers(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(100)
        bench.chain.warp(PERIOD + CLAIM_WINDOW)
        assert (await bench.node.claimer.settle()).claimed == 0
        (event,) = bench.events("claim_skipped")
        assert (event["reason"], event["given_up"]) == ("window_ended", True)
        assert bench.ledger.unclaimed_sum() == 0

    run(tmp_path, scenario)


def test_the_operator_is_the_payee(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(1_000)
        settled = await bench.node.claimer.settle()
        assert (settled.claimed, settled.withdrawn) == (1_000, 700)
        assert bench.chain.received == {OPERATOR: 700}

    run(tmp_path, scenario)
