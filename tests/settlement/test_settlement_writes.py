"""Wallet and operator writes, deployment and faucet on the real chain, and how they refuse."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiohttp import web
from chain_world import TREASURY, ChainWorld, open_world
from web3 import Web3

from ricochet_protocol.eip712 import Reservation, sign_reservation
from ricochet_protocol.errors import (
    BudgetError,
    ChainError,
    ConfigurationError,
    RicochetError,
    UsageError,
)
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.money import Units
from ricochet_protocol.signing import account_address, peer_of
from ricochet_settlement import faucet, operator, subscriber
from ricochet_settlement.contract import ContractSettlement
from ricochet_settlement.deploy import MAX_FEE, MIN_FEE, deploy
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.devchain.accounts import dev_address, dev_key
from ricochet_settlement.holdings import holdings
from ricochet_settlement.link import Link, Network
from ricochet_settlement.sender import Sender

ALICE, DELEGATE, OPERATOR = (bytes([n]) * 32 for n in (0xA1, 0xDE, 0x0A))
alice, delegate, node = (account_address(key) for key in (ALICE, DELEGATE, OPERATOR))
PAYOUT, OTHER = Address("0x" + "9a" * 20), Address("0x" + "0b" * 20)
PEER = peer_of(bytes([1]) * 32)
FEE = Units(10_000_000)
DEAD = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""


def on_chain(url: str, body: Callable[[ChainWorld], Awaitable[None]]) -> None:
    async def main() -> None:
        async with open_world(url) as world, asyncio.timeout(60):
            await body(world)

    asyncio.run(main())


async def refusal(call: Awaitable[object]) -> RicochetError:
    with pytest.raises(RicochetError) as caught:
        await call
    assert caught.value.hint
    return caught.value


def test_subscribing_needs_a_fair_fee_tokens_and_gas(chain_url: str) -> None:
    async def body(world: ChainWorld) -> None:
        there = world.deployment
        poor = await refusal(subscriber.subscribe(there, ALICE, FEE, delegate))
        assert (type(poor), poor.code) == (BudgetError, "no_tokens")
        assert "ricochet dev faucet" in poor.hint
        real = msgspec.structs.replace(there, development=False)
        poor = await refusal(subscriber.subscribe(real, ALICE, FEE, delegate))
        assert alice in poor.hint and there.token in poor.hint
        await faucet.give(there, alice, wei=0, units=Units(3 * FEE))
        gasless = account_address(bytes([0x99]) * 32)
        await faucet.give(there, gasless, wei=0, units=FEE)
        dry = await refusal(subscriber.subscribe(there, bytes([0x99]) * 32, FEE, delegate))
        assert (type(dry), dry.code) == (BudgetError, "no_gas_money")
        assert gasless in dry.hint
        await faucet.give(there, alice, wei=10**18, units=Units(0))
        for fee in (MIN_FEE - 1, MAX_FEE + 1):
            wrong = await refusal(subscriber.subscribe(there, ALICE, Units(fee), delegate))
            assert (type(wrong), wrong.code) == (UsageError, "fee_out_of_range")
            assert "$5.00 to $10.00" in wrong.message
        made = await subscriber.subscribe(there, ALICE, FEE, delegate)
        assert (made.period, made.budget, made.delegate) == (1, FEE, delegate)
        again = await refusal(subscriber.subscribe(there, ALICE, FEE, delegate))
        assert (type(again), again.code) == (UsageError, "already_subscribed")
        assert await world.received(alice) == 2 * FEE

    on_chain(chain_url, body)


def test_a_top_up_needs_a_running_period(chain_url: str) -> None:
    async def body(world: ChainWorld) -> None:
        there = world.deployment
        await world.fund(ALICE)
        none = await refusal(subscriber.top_up(there, ALICE, Units(1)))
        assert (type(none), none.code) == (BudgetError, "no_subscription")
        await world.subscribe(ALICE, FEE, delegate)
        assert (await subscriber.top_up(there, ALICE, Units(5))).budget == FEE + 5
        nothing = await refusal(subscriber.top_up(there, ALICE, Units(0)))
        assert (type(nothing), nothing.code) == (UsageError, "nothing_to_add")
        await world.warp(30 * 24 * 3600)
        ended = await refusal(subscriber.top_up(there, ALICE, Units(5)))
        assert ended.code == "no_subscription"

    on_chain(chain_url, body)


def test_registering_the_same_again_costs_nothing(chain_url: str) -> None:
    async def body(world: ChainWorld) -> None:
        there = world.deployment
        await world.fund(OPERATOR)
        addresses = ("/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2")
        assert await operator.register_node(there, OPERATOR, PEER, addresses, PAYOUT)
        assert not await operator.register_node(there, OPERATOR, PEER, addresses, PAYOUT)
        assert await operator.register_node(there, OPERATOR, PEER, addresses[:1], PAYOUT)
        fixed = await refusal(operator.register_node(there, OPERATOR, PEER, addresses, OTHER))
        assert (type(fixed), fixed.code) == (ConfigurationError, "payout_fixed")
        assert PAYOUT in fixed.hint
        long = await refusal(operator.register_node(there, OPERATOR, PEER, ["x" * 300], PAYOUT))
        assert (type(long), long.code) == (ChainError, "reverted")
        assert "MultiaddrTooLong(index=0, length=300, maximum=256)" in long.message

    on_chain(chain_url, body)


def test_an_entry_that_is_not_even_text_hides_nobody(chain_url: str) -> None:
    async def body(world: ChainWorld) -> None:
        await world.fund(OPERATOR)
        network = await Network.open(world.deployment)
        try:
            data = network.ricochet.encode_abi(
                "registerNode", ["ABCD", ["EFGH"], Web3.to_checksum_address(PAYOUT)]
            )
            mangled = bytes.fromhex(data[2:]).replace(b"ABCD", b"\xff\xfe\xfd\xfc")
            await Sender(network.link, OPERATOR).send(world.deployment.contract, mangled)
        finally:
            await network.close()
        await world.register_node(ALICE, PEER, (), PAYOUT)
        assert [record.operator for record in await world.settlement.nodes()] == [alice]
        assert await world.settlement.node(node) is None
        assert await operator.register_node(world.deployment, OPERATOR, PEER, (), PAYOUT)
        assert len(await world.settlement.nodes()) == 2

    on_chain(chain_url, body)


def test_a_batch_that_nothing_would_pass_sends_no_transaction(chain_url: str) -> None:
    async def body(world: ChainWorld) -> None:
        await world.subscribe(ALICE, FEE, delegate)
        network = await Network.open(world.deployment)
        try:
            before = await network.link.web3.eth.block_number
            value = Reservation(subscriber=alice, node=node, period=Period(1), total=Units(5))
            forged = sign_reservation(OPERATOR, world.settlement.domain, value)
            outcomes = await world.settlement.reserve([forged, forged])
            assert [outcome.reason for outcome in outcomes] == ["bad_signature"] * 2
            assert await network.link.web3.eth.block_number == before
        finally:
            await network.close()

    on_chain(chain_url, body)


def test_transactions_of_one_key_queue_up(chain_url: str) -> None:
    async def body(world: ChainWorld) -> None:
        link = Link(world.deployment.rpc)
        try:
            sender = Sender(link, dev_key(2))
            receipts = await asyncio.gather(*(sender.send(OTHER, b"", 1) for _ in range(8)))
            blocks = [receipt["blockNumber"] for receipt in receipts]
            assert blocks == sorted(set(blocks))
        finally:
            await link.close()

    on_chain(chain_url, body)


def test_a_revert_is_told_with_its_name_and_values(chain_url: str) -> None:
    async def body(world: ChainWorld) -> None:
        network = await Network.open(world.deployment)
        try:
            data = network.ricochet.encode_abi("close", [Web3.to_checksum_address(alice), 3])
            sender = Sender(network.link, dev_key(2))
            call = sender.send(world.deployment.contract, bytes.fromhex(data[2:]))
            error = await refusal(call)
            assert (type(error), error.code) == (ChainError, "reverted")
            assert "PeriodUnknown(period=3, newest=0)" in error.message
        finally:
            await network.close()

    on_chain(chain_url, body)


def test_a_revert_after_the_estimate_is_told(
    chain_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def passes(transaction: object) -> int:
        return 100_000

    async def body(world: ChainWorld) -> None:
        network = await Network.open(world.deployment)
        try:
            monkeypatch.setattr(network.link.web3.eth, "estimate_gas", passes)
            sender = Sender(network.link, dev_key(3))
            error = await refusal(sender.send(world.deployment.contract, b"", 1))
            assert (type(error), error.code) == (ChainError, "reverted")
            assert "failed when it was mined" in error.message
            await sender.send(OTHER, b"", 1)
        finally:
            await network.close()

    on_chain(chain_url, body)


def test_a_transfer_beyond_the_balance_is_a_budget_error(chain_url: str) -> None:
    async def body(world: ChainWorld) -> None:
        link = Link(world.deployment.rpc)
        try:
            key = bytes([0x77]) * 32
            await faucet.give(world.deployment, account_address(key), wei=1000, units=Units(0))
            sender = Sender(link, key)
            for wei in (1000, 2000, 1):
                error = await refusal(sender.send(OTHER, b"", wei))
                assert (type(error), error.code) == (BudgetError, "no_gas_money")
        finally:
            await link.close()

    on_chain(chain_url, body)


def test_a_deployment_is_checked_against_the_chain(chain_url: str) -> None:
    async def body(world: ChainWorld) -> None:
        replace = msgspec.structs.replace
        there = world.deployment
        assert there.development
        for wrong, code in (
            (replace(there, chain_id=1), "wrong_chain"),
            (replace(there, contract=OTHER), "wrong_contract"),
            (replace(there, contract=there.token), "wrong_contract"),
            (replace(there, token=OTHER), "wrong_contract"),
        ):
            error = await refusal(ContractSettlement.connect(wrong, dev_key(1)))
            assert (type(error), error.code) == (ConfigurationError, code)
            assert "network.json" in error.hint
        network = await Network.open(there)
        try:
            views = network.ricochet.functions
            assert await views.minFee().call() == MIN_FEE
            assert await views.maxFee().call() == MAX_FEE
            assert (await views.treasury().call()).lower() == TREASURY
        finally:
            await network.close()

    on_chain(chain_url, body)


def test_an_unreachable_chain_says_where_and_how() -> None:
    dead = Deployment(rpc=DEAD, chain_id=31337, contract=OTHER, token=OTHER, development=True)

    async def main() -> None:
        for call in (
            ContractSettlement.connect(dead, dev_key(1)),
            subscriber.subscribe(dead, ALICE, FEE, delegate),
            operator.register_node(dead, OPERATOR, PEER, (), PAYOUT),
            faucet.give(dead, alice, wei=1, units=Units(0)),
            deploy(DEAD, dev_key(0), TREASURY),
        ):
            error = await refusal(call)
            assert (type(error), error.code) == (ChainError, "chain_unreachable")
            assert DEAD in error.message and "ricochet dev chain" in error.hint

    asyncio.run(main())


@asynccontextmanager
async def serving(
    answer: Callable[[web.Request], Awaitable[web.Response]],
) -> AsyncIterator[str]:
    """A web server that is no chain."""
    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "text"),
    [(200, "<html>hello</html>"), (500, "no"), (200, "{}"), (200, "[]"), (200, "")],
)
def test_a_server_that_is_no_chain_is_a_clear_error(status: int, text: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text, content_type="application/json")

    async def main() -> None:
        async with serving(answer) as url:
            dead = Deployment(rpc=url, chain_id=31337, contract=OTHER, token=OTHER)
            error = await refusal(ContractSettlement.connect(dead, dev_key(1)))
            assert isinstance(error, ChainError)

    asyncio.run(main())


def test_the_faucet_adds_up_and_holdings_show_it(chain_url: str) -> None:
    async def body(world: ChainWorld) -> None:
        account = account_address(bytes([0x55]) * 32)
        before = await holdings(world.deployment, account)
        for _ in range(2):
            await faucet.give(world.deployment, account, wei=3, units=Units(4))
        after = await holdings(world.deployment, account)
        assert (after.wei - before.wei, before.tokens, after.tokens) == (6, 0, 8)

    on_chain(chain_url, body)


def test_money_is_free_only_where_it_is_worth_nothing(chain_url: str) -> None:
    async def body(world: ChainWorld) -> None:
        real = msgspec.structs.replace(world.deployment, development=False)
        error = await refusal(faucet.give(real, alice, wei=1, units=Units(1)))
        assert (type(error), error.code) == (ConfigurationError, "not_development")
        reused = await deploy(real.rpc, dev_key(0), dev_address(4), token=real.token)
        assert reused.token == real.token
        assert reused.contract != real.contract

    on_chain(chain_url, body)
