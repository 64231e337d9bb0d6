"""What a subscriber's wallet does: subscribe to the network, and add to the running budget.

Both approve exactly what the contract will pull, after its refundable balance, and say in advance
what is missing. The private key is the wallet's, unlocked by the caller.
"""

from web3 import Web3

from ricochet_protocol.errors import BudgetError, UsageError
from ricochet_protocol.ids import Address
from ricochet_protocol.money import Units, dollars
from ricochet_protocol.ports import Subscription
from ricochet_protocol.signing import account_address
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.link import Network
from ricochet_settlement.reading import read_subscription
from ricochet_settlement.sender import Sender


async def subscribe(
    deployment: Deployment, key: bytes, fee: Units, delegate: Address, *, auto_renew: bool = False
) -> Subscription:
    """Open the next period; `delegate` may sign reservations and vouchers in it.

    With `auto_renew` anyone may open the periods after it, at the same fee, as far as the wallet's
    allowance to the contract goes.

    UsageError `already_subscribed`, `fee_out_of_range`; BudgetError `no_tokens`, `no_gas_money`.
    """
    network = await Network.open(deployment)
    try:
        payer = _Payer(network, key)
        await _check_fee(network, fee)
        await _check_free(network, payer.account)
        await payer.pay(fee, "subscribe", fee, Web3.to_checksum_address(delegate), auto_renew)
        return await _standing(network, payer.account)
    finally:
        await network.close()


async def top_up(deployment: Deployment, key: bytes, amount: Units) -> Subscription:
    """Add to the running period's budget.

    BudgetError `no_subscription`, `no_tokens` or `no_gas_money`; UsageError `nothing_to_add`.
    """
    if amount <= 0:
        raise UsageError("nothing_to_add", "a top-up adds more than nothing", "Give an amount.")
    network = await Network.open(deployment)
    try:
        payer = _Payer(network, key)
        current = await read_subscription(network, payer.account)
        if current is None or await _chain_time(network) >= current.end:
            raise BudgetError(
                "no_subscription",
                f"{payer.account} has no running subscription to add to",
                "Run `ricochet subscribe`.",
            )
        await payer.pay(amount, "topUp", amount)
        return await _standing(network, payer.account)
    finally:
        await network.close()


class _Payer:
    """Moves money from one wallet into the contract."""

    def __init__(self, network: Network, key: bytes) -> None:
        self._network = network
        self._sender = Sender(network.link, key)
        self.account = account_address(key)

    async def pay(self, amount: Units, function: str, *arguments: object) -> None:
        """Approve what `function` will pull for `amount`, then call it."""
        ask, network = self._network.link.ask, self._network
        account = Web3.to_checksum_address(self.account)
        spare = await ask(network.ricochet.functions.refundable(account).call())
        due = max(0, amount - spare)
        held = await ask(network.token.functions.balanceOf(account).call())
        if held < due:
            raise BudgetError(
                "no_tokens",
                f"the wallet {self.account} holds {dollars(Units(held))}, "
                f"this takes {dollars(Units(due))}",
                "Run `ricochet dev faucet`."
                if network.deployment.development
                else f"Send tokens of {network.deployment.token} to {self.account}.",
            )
        spender = network.ricochet.address
        allowed = await ask(network.token.functions.allowance(account, spender).call())
        if allowed < due:
            approval = network.token.encode_abi("approve", [spender, due])
            await self._sender.send(network.deployment.token, bytes.fromhex(approval[2:]))
        call = network.ricochet.encode_abi(function, arguments)
        await self._sender.send(network.deployment.contract, bytes.fromhex(call[2:]))


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


async def _check_free(network: Network, account: Address) -> None:
    current = await read_subscription(network, account)
    if current is not None and await _chain_time(network) < current.end:
        left = Units(current.budget - current.paid)
        raise UsageError(
            "already_subscribed",
            f"period {current.period} of {account} still runs; {dollars(left)} of it is unspent",
            "Use it, add to it with a top-up, or subscribe again when it has ended.",
        )


async def _standing(network: Network, account: Address) -> Subscription:
    current = await read_subscription(network, account)
    if current is None:
        raise BudgetError(
            "no_subscription", "the subscription is not on the chain", "Run `ricochet subscribe`."
        )
    return current


async def _chain_time(network: Network) -> int:
    """The only clock of the contract; a private chain's may differ from ours by months."""
    return (await network.link.ask(network.link.web3.eth.get_block("latest")))["timestamp"]
