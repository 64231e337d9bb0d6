"""Where an operator's income goes, and how that changes: queued, 48 hours of notice, applied.

The notice protects the owner from a stolen wallet: until a change is applied, both the wallet and
the payout address that still holds can cancel it. Everything that the contract would refuse is
told before it is sent, in words and with times; the chain's time is the only clock.
"""

from datetime import UTC, datetime

import msgspec
from web3 import Web3

from ricochet_protocol.errors import ConfigurationError, UsageError
from ricochet_protocol.ids import Address
from ricochet_settlement.deployment import Deployment, check_recipient
from ricochet_settlement.link import Network
from ricochet_settlement.reading import ZERO_ADDRESS, read_payout_change
from ricochet_settlement.sender import IN_MEMORY, Outbox, Sender, writing


class Payout(msgspec.Struct, frozen=True):
    """`queued` may replace `current` from `due` on; `now` is the chain's time, Unix seconds."""

    operator: Address
    current: Address
    queued: Address | None
    due: int
    now: int

    @property
    def applicable(self) -> bool:
        """Whether the queued address can take over now."""
        return self.queued is not None and self.now >= self.due


async def payout(deployment: Deployment, operator: Address) -> Payout:
    """Read it; ConfigurationError `not_registered`, ChainError."""
    network = await Network.open(deployment)
    try:
        return await _read(network, operator)
    finally:
        await network.close()


async def queue_payout(
    deployment: Deployment, key: bytes, to: Address, *, outbox: Outbox = IN_MEMORY
) -> Payout:
    """Announce `to`; one that was queued before is replaced, and the notice begins anew.

    UsageError `payout_unchanged`, `payout_queued`, `bad_address`; ConfigurationError
    `not_registered`; BudgetError `no_gas_money`.
    """
    check_recipient(deployment, to)
    async with writing(deployment, key, outbox) as (network, sender):
        found = await _read(network, sender.account)
        if to == found.queued:
            raise UsageError(
                "payout_queued",
                f"{to} is queued already, and can take over from {_moment(found.due)}",
                "Wait: queueing it again would begin the 48 hours anew.",
            )
        if to == found.current:
            raise UsageError(
                "payout_unchanged",
                f"income goes to {to} already",
                "`ricochet node payout cancel` drops a change that is queued."
                if found.queued
                else "Name another address.",
            )
        await _call(network, sender, "queuePayout", to)
        return await _read(network, sender.account)


async def cancel_payout(
    deployment: Deployment, key: bytes, operator: Address, *, outbox: Outbox = IN_MEMORY
) -> Payout:
    """Drop the change that is queued for `operator`, as he, or as his current payout address.

    UsageError `nothing_queued`; ConfigurationError `no_veto`, `not_registered`; BudgetError.
    """
    async with writing(deployment, key, outbox) as (network, sender):
        found = await _read(network, operator)
        _check_queued(found)
        if sender.account not in (operator, found.current):
            raise ConfigurationError(
                "no_veto",
                f"the wallet {sender.account} has no say in the income of {operator}",
                f"Use the wallet of {operator} or of {found.current}: choose its --home.",
            )
        await _call(network, sender, "cancelPayout", operator)
        return await _read(network, operator)


async def apply_payout(
    deployment: Deployment, key: bytes, operator: Address, *, outbox: Outbox = IN_MEMORY
) -> Payout:
    """Let the queued address take over once its time has come; any wallet may.

    UsageError `nothing_queued`, `payout_not_due`; ConfigurationError `not_registered`; BudgetError.
    """
    async with writing(deployment, key, outbox) as (network, sender):
        found = await _read(network, operator)
        _check_queued(found)
        if not found.applicable:
            hours = -(-(found.due - found.now) // 3600)
            raise UsageError(
                "payout_not_due",
                f"{found.queued} can take over from {_moment(found.due)}, in {hours} h",
                "Run `ricochet node payout apply` then, or `… payout cancel` to stop it.",
            )
        await _call(network, sender, "applyPayout", operator)
        return await _read(network, operator)


def _check_queued(found: Payout) -> None:
    if found.queued is None:
        raise UsageError(
            "nothing_queued",
            f"no change is queued: the income of {found.operator} goes to {found.current}",
            "Queue one: `ricochet node payout queue ADDRESS`.",
        )


async def _read(network: Network, operator: Address) -> Payout:
    current, queued, due = await read_payout_change(network, operator)
    if current == ZERO_ADDRESS:
        raise ConfigurationError(
            "not_registered",
            f"{operator} is not in the registry, so no income goes anywhere",
            "`ricochet node start` registers a node; --operator names that of another wallet.",
        )
    now = (await network.link.ask(network.link.web3.eth.get_block("latest")))["timestamp"]
    return Payout(
        operator=operator,
        current=current,
        queued=None if queued == ZERO_ADDRESS else queued,
        due=due,
        now=now,
    )


async def _call(network: Network, sender: Sender, function: str, account: Address) -> None:
    data = network.ricochet.encode_abi(function, [Web3.to_checksum_address(account)])
    await sender.send(network.deployment.contract, bytes.fromhex(data[2:]), label=function)


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
