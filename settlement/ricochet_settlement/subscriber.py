"""What a subscriber's wallet pays: subscriptions, their renewal, and additions to a running budget.

Each approves exactly what the contract will pull, after its refundable balance, and says in advance
what is missing; only automatic renewal approves more, a year of fees, of which the contract pulls
one a period. Each is sent under a key that names the state it starts from, so that the same command
given twice pays once. The private key is the wallet's, unlocked by the caller.
"""

from typing import Final

from web3 import Web3

from ricochet_protocol.errors import BudgetError, ConfigurationError, UsageError
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.money import Units, dollars
from ricochet_protocol.ports import Subscription
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.link import Network
from ricochet_settlement.reading import read_period, read_subscription
from ricochet_settlement.sender import IN_MEMORY, Outbox, Sender, writing

RENEWALS: Final = 12
"""Fees that automatic renewal may pull before the wallet has to approve again: about a year's."""


async def subscribe(
    deployment: Deployment,
    key: bytes,
    fee: Units,
    delegate: Address,
    *,
    auto_renew: bool = False,
    outbox: Outbox = IN_MEMORY,
) -> Subscription:
    """Open the next period; `delegate` may sign reservations and vouchers in it.

    With `auto_renew` anyone may open the periods after it, at the same fee, as far as the wallet's
    allowance to the contract goes.

    UsageError `already_subscribed`, `fee_out_of_range`; BudgetError `no_tokens`, `no_gas_money`.
    """
    async with writing(deployment, key, outbox) as (network, sender):
        payer = _Payer(network, sender)
        await _check_open(network)
        await _check_fee(network, fee)
        last = await _check_free(network, sender.account)
        await payer.allow(fee, more=fee * RENEWALS if auto_renew else 0)
        arguments = (fee, Web3.to_checksum_address(delegate), auto_renew)
        await payer.call("subscribe", *arguments, key=f"subscribe period {last + 1}")
        return await _standing(network, sender.account)


async def top_up(
    deployment: Deployment, key: bytes, amount: Units, *, outbox: Outbox = IN_MEMORY
) -> Subscription:
    """Add to the running period's budget.

    BudgetError `no_subscription`, `no_tokens` or `no_gas_money`; UsageError `nothing_to_add`.
    """
    if amount <= 0:
        raise UsageError("nothing_to_add", "a top-up adds more than nothing", "Give an amount.")
    async with writing(deployment, key, outbox) as (network, sender):
        payer = _Payer(network, sender)
        await _check_open(network)
        current = await _running(network, sender.account)
        await payer.allow(amount)
        state = f"top up period {current.period} beyond {current.budget}"
        await payer.call("topUp", amount, key=state)
        return await _standing(network, sender.account)


async def set_auto_renew(
    deployment: Deployment, key: bytes, wanted: bool, *, outbox: Outbox = IN_MEMORY
) -> None:
    """Allow anyone to open the next periods at the stored fee, or nobody; with the allowance.

    BudgetError `no_subscription`, `no_gas_money`.
    """
    async with writing(deployment, key, outbox) as (network, sender):
        payer = _Payer(network, sender)
        ask, views = network.link.ask, network.ricochet.functions
        account = Web3.to_checksum_address(sender.account)
        current = await _running(network, sender.account)
        period = await ask(views.periodOf(account, current.period).call())
        if wanted:
            await payer.allow(Units(0), more=period[_FEE] * RENEWALS)
        if await ask(views.autoRenewOf(account).call()) != wanted:
            await payer.call("setAutoRenew", wanted)
        if not wanted:
            await payer.approve(0)


async def set_delegate(
    deployment: Deployment, key: bytes, delegate: Address, *, outbox: Outbox = IN_MEMORY
) -> None:
    """Let `delegate` sign from now on; nothing is sent when he does already.

    What the replaced one signed stays payable: his vouchers within commitments until the claim
    window ends, his reservations for a day. BudgetError `no_subscription`, `no_gas_money`.
    """
    async with writing(deployment, key, outbox) as (network, sender):
        current = await _standing(network, sender.account)
        if current.delegate != delegate:
            account = Web3.to_checksum_address(delegate)
            await _Payer(network, sender).call("setDelegate", account)


async def renew(
    deployment: Deployment, key: bytes, subscriber: Address, *, outbox: Outbox = IN_MEMORY
) -> Subscription:
    """Open the next period of a subscriber who renews automatically, at his cost and our gas.

    ChainError `reverted` when it is too early, or he has not allowed it; BudgetError
    `no_subscription`, `no_gas_money`.
    """
    async with writing(deployment, key, outbox) as (network, sender):
        current = await _standing(network, subscriber)
        state = f"renew {subscriber} after period {current.period}"
        payer = _Payer(network, sender)
        await _check_open(network)
        await payer.call("renew", Web3.to_checksum_address(subscriber), key=state)
        renewed = await read_period(network, subscriber, Period(current.period + 1))
        return renewed or current


_FEE: Final = 3
"""The fee's place in the contract's `Period`."""


class _Payer:
    """Moves money from one wallet into the contract."""

    def __init__(self, network: Network, sender: Sender) -> None:
        self._network = network
        self._sender = sender

    async def allow(self, amount: Units, more: int = 0) -> None:
        """Let the contract pull `amount`, less what it owes the wallet, and `more` later."""
        ask, network = self._network.link.ask, self._network
        owner = self._sender.account
        account = Web3.to_checksum_address(owner)
        spare = await ask(network.ricochet.functions.refundable(account).call())
        due = max(0, amount - spare)
        held = await ask(network.token.functions.balanceOf(account).call())
        if held < due:
            raise BudgetError(
                "no_tokens",
                f"the wallet {owner} holds {dollars(Units(held))}, "
                f"this takes {dollars(Units(due))}",
                "Run `ricochet dev faucet`."
                if network.deployment.development
                else f"Send tokens of {network.deployment.token} to {owner}.",
            )
        spender = network.ricochet.address
        if await ask(network.token.functions.allowance(account, spender).call()) < due + more:
            await self.approve(due + more)

    async def approve(self, units: int) -> None:
        """Set what the contract may pull."""
        network = self._network
        data = network.token.encode_abi("approve", [network.ricochet.address, units])
        await self._sender.send(network.deployment.token, bytes.fromhex(data[2:]), label="approve")

    async def call(self, function: str, *arguments: object, key: str | None = None) -> None:
        """Call the contract; once for a key, within this contract."""
        contract = self._network.deployment.contract
        data = self._network.ricochet.encode_abi(function, arguments)
        scoped = None if key is None else f"{contract} {key}"
        await self._sender.send(contract, bytes.fromhex(data[2:]), label=function, key=scoped)


async def _check_open(network: Network) -> None:
    if await network.link.ask(network.ricochet.functions.paused().call()):
        raise ConfigurationError(
            "contract_paused",
            "the contract's owner has paused it: it takes no new money now",
            "What is paid stays usable, and `ricochet subscription refund` works. Try again later.",
        )


async def _check_fee(network: Network, fee: Units) -> None:
    views = network.ricochet.functions
    least = await network.link.ask(views.minFee().call())
    most = await network.link.ask(views.maxFee().call())
    if not least <= fee <= most:
        raise UsageError(
            "fee_out_of_range",
            f"a period costs from {dollars(Units(least))} to {dollars(Units(most))}, "
            f"not {dollars(fee)}",
            "Choose a fee in that range; more can be added with a top-up.",
        )


async def _check_free(network: Network, account: Address) -> int:
    """The number of the last period, which has ended; 0 for a newcomer."""
    current = await read_subscription(network, account)
    if current is not None and await _chain_time(network) < current.end:
        left = Units(current.budget - current.paid)
        raise UsageError(
            "already_subscribed",
            f"period {current.period} of {account} still runs; {dollars(left)} of it is unspent",
            "Use it, add to it with a top-up, or subscribe again when it has ended.",
        )
    return 0 if current is None else current.period


async def _running(network: Network, account: Address) -> Subscription:
    current = await read_subscription(network, account)
    if current is None or await _chain_time(network) >= current.end:
        raise BudgetError(
            "no_subscription",
            f"{account} has no running subscription",
            "Run `ricochet subscribe`.",
        )
    return current


async def _standing(network: Network, account: Address) -> Subscription:
    current = await read_subscription(network, account)
    if current is None:
        raise BudgetError(
            "no_subscription", f"{account} never subscribed", "Run `ricochet subscribe`."
        )
    return current


async def _chain_time(network: Network) -> int:
    """The only clock of the contract; a private chain's may differ from ours by months."""
    return (await network.link.ask(network.link.web3.eth.get_block("latest")))["timestamp"]
