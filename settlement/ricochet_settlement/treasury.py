"""What the contract's owner can do: pause the taking of new money, and hand his role over.

The owner is the treasury, which receives the commission. Nothing else is in his power: what was
paid in is reserved, claimed and refunded as if there were no owner. What the contract would refuse
is told before it is sent.
"""

import msgspec
from web3 import Web3

from ricochet_protocol.errors import ConfigurationError, UsageError
from ricochet_protocol.ids import Address, address
from ricochet_protocol.money import Units
from ricochet_settlement.deployment import Deployment, check_recipient
from ricochet_settlement.link import Network
from ricochet_settlement.reading import ZERO_ADDRESS
from ricochet_settlement.sender import IN_MEMORY, Outbox, Sender, writing


class ContractState(msgspec.Struct, frozen=True):
    """`pending` becomes the treasury once it accepts; `owed` is what the contract owes in all.

    `held` is the contract's balance, never below `owed`; `income` the commission that the treasury
    has not taken yet.
    """

    treasury: Address
    pending: Address | None
    paused: bool
    min_fee: Units
    max_fee: Units
    node_percent: int
    held: Units
    owed: Units
    income: Units


async def contract_state(deployment: Deployment) -> ContractState:
    """Read it; ConfigurationError `wrong_contract`, `wrong_chain`; ChainError."""
    network = await Network.open(deployment)
    try:
        return await _read(network)
    finally:
        await network.close()


async def set_paused(
    deployment: Deployment, key: bytes, wanted: bool, *, outbox: Outbox = IN_MEMORY
) -> ContractState:
    """Stop or resume subscriptions, renewals and top-ups; nothing is sent if it is so already.

    ConfigurationError `not_owner`; BudgetError `no_gas_money`; ChainError.
    """
    async with writing(deployment, key, outbox) as (network, sender):
        found = await _read(network)
        _check_owner(found, sender)
        if found.paused != wanted:
            await _call(network, sender, "pause" if wanted else "unpause")
        return await _read(network)


async def transfer_treasury(
    deployment: Deployment, key: bytes, to: Address, *, outbox: Outbox = IN_MEMORY
) -> ContractState:
    """Offer the role to `to`, who has it once he accepts; an earlier offer is replaced.

    ConfigurationError `not_owner`; UsageError `bad_address`, `treasury_unchanged`; BudgetError.
    """
    check_recipient(deployment, to)
    async with writing(deployment, key, outbox) as (network, sender):
        found = await _read(network)
        _check_owner(found, sender)
        if to == found.treasury:
            raise UsageError(
                "treasury_unchanged", f"{to} is the treasury already", "Name another account."
            )
        if to != found.pending:
            await _call(network, sender, "transferOwnership", Web3.to_checksum_address(to))
        return await _read(network)


async def accept_treasury(
    deployment: Deployment, key: bytes, *, outbox: Outbox = IN_MEMORY
) -> ContractState:
    """Take over the role that was offered to this wallet.

    UsageError `nothing_offered`; ConfigurationError `not_offered`; BudgetError; ChainError.
    """
    async with writing(deployment, key, outbox) as (network, sender):
        found = await _read(network)
        if found.pending is None:
            raise UsageError(
                "nothing_offered",
                f"nobody has been offered the treasury; it is {found.treasury}",
                "Its owner runs `ricochet contracts transfer-treasury ADDRESS` first.",
            )
        if sender.account != found.pending:
            raise ConfigurationError(
                "not_offered",
                f"the treasury was offered to {found.pending}, not to {sender.account}",
                f"Use the wallet of {found.pending}: choose its --home.",
            )
        await _call(network, sender, "acceptOwnership")
        return await _read(network)


def _check_owner(found: ContractState, sender: Sender) -> None:
    if sender.account != found.treasury:
        raise ConfigurationError(
            "not_owner",
            f"the contract belongs to {found.treasury}, not to the wallet {sender.account}",
            f"Use the wallet of {found.treasury}: choose its --home.",
        )


async def _read(network: Network) -> ContractState:
    ask, views = network.link.ask, network.ricochet.functions
    treasury = await ask(views.treasury().call())
    pending = address(await ask(views.pendingOwner().call()))
    balance = network.token.functions.balanceOf(network.ricochet.address)
    return ContractState(
        treasury=address(treasury),
        pending=None if pending == ZERO_ADDRESS else pending,
        paused=await ask(views.paused().call()),
        min_fee=Units(await ask(views.minFee().call())),
        max_fee=Units(await ask(views.maxFee().call())),
        node_percent=await ask(views.NODE_BPS().call()) // 100,
        held=Units(await ask(balance.call())),
        owed=Units(await ask(views.liabilities().call())),
        income=Units(await ask(views.withdrawable(treasury).call())),
    )


async def _call(network: Network, sender: Sender, function: str, *arguments: object) -> None:
    data = network.ricochet.encode_abi(function, arguments)
    await sender.send(network.deployment.contract, bytes.fromhex(data[2:]), label=function)
