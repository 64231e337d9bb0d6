"""What the chain says about a deployment's money: its events, and its views at the same block.

Two independent accounts of the same thing, gathered without judging; `audit` compares them. Nothing
here knows a program's own counters.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from web3 import Web3

from ricochet_protocol.ids import Address, Period, address
from ricochet_protocol.money import Units
from ricochet_settlement.link import Network
from ricochet_settlement.reading import read_logs


class Budgeted(NamedTuple):
    """A period's budget grew: by its fee, or by a top-up."""

    subscriber: Address
    period: Period
    amount: Units


class Deposited(NamedTuple):
    """Tokens moved from a subscriber to the contract in a transaction that budgeted them."""

    subscriber: Address
    amount: Units


class Reserved(NamedTuple):
    """A node's commitment rose to `total`."""

    subscriber: Address
    node: Address
    period: Period
    total: Units


class Claimed(NamedTuple):
    """A node is paid up to `cumulative`; share and commission, for the treasury of that moment, are
    what this claim added."""

    subscriber: Address
    node: Address
    period: Period
    cumulative: Units
    share: Units
    commission: Units
    treasury: Address


class Closed(NamedTuple):
    """A period's unspent budget became refundable."""

    subscriber: Address
    period: Period
    refundable: Units


class Moved(NamedTuple):
    """Tokens left the contract for `account`: a refund or a withdrawal."""

    account: Address
    amount: Units


class PeriodView(NamedTuple):
    """The contract's own record of a period."""

    budget: Units
    committed: Units
    paid: Units
    closed: bool


class Facts(msgspec.Struct, frozen=True):
    """All of it at one block."""

    block: int
    treasuries: tuple[Address, ...]
    operators: tuple[Address, ...]
    budgeted: tuple[Budgeted, ...]
    deposited: tuple[Deposited, ...]
    reserved: tuple[Reserved, ...]
    claimed: tuple[Claimed, ...]
    closed: tuple[Closed, ...]
    refunded: tuple[Moved, ...]
    withdrawn: tuple[Moved, ...]
    periods: dict[tuple[Address, Period], PeriodView]
    refundable: dict[Address, Units]
    withdrawable: dict[Address, Units]
    liabilities: Units
    balance: Units


async def gather(network: Network) -> Facts:
    """Read everything at the newest block; ChainError when the chain cannot be read."""
    block = await network.link.ask(network.link.web3.eth.block_number)
    successions = await _events(network, "OwnershipTransferred", block)
    treasuries = _unique(address(event["args"]["newOwner"]) for event in successions)
    opened = await _events(network, "Subscribed", block)
    topped = await _events(network, "ToppedUp", block)
    claims = [_claim(event, successions) for event in await _events(network, "Claimed", block)]
    registered = await _operators(network, block)
    budgeted = [
        *(_budgeted(event["args"], "fee") for event in opened),
        *(_budgeted(event["args"], "amount") for event in topped),
    ]
    subscribers = _unique(entry.subscriber for entry in budgeted)
    operators = _unique([*registered, *(claim.node for claim in claims)])
    return Facts(
        block=block,
        treasuries=treasuries,
        operators=operators,
        budgeted=tuple(budgeted),
        deposited=await _deposits(network, block, [*opened, *topped]),
        reserved=tuple(
            Reserved(*_who(event["args"]), event["args"]["total"])
            for event in await _events(network, "Reserved", block)
        ),
        claimed=tuple(claims),
        closed=tuple(
            Closed(address(args["subscriber"]), args["period"], args["refundable"])
            for args in (event["args"] for event in await _events(network, "Closed", block))
        ),
        refunded=await _moved(network, block, "Refunded", "subscriber"),
        withdrawn=await _moved(network, block, "Withdrawn", "account"),
        periods={
            (entry.subscriber, entry.period): await _period(network, block, entry)
            for entry in budgeted
        },
        refundable={
            account: Units(await _view(network, block, "refundable", account))
            for account in subscribers
        },
        withdrawable={
            account: Units(await _view(network, block, "withdrawable", account))
            for account in _unique([*treasuries, *operators])
        },
        liabilities=Units(await _view(network, block, "liabilities")),
        balance=await _balance(network, block),
    )


async def _events(network: Network, name: str, block: int) -> list[Any]:
    event = network.ricochet.events[name]()
    return [event.process_log(log) for log in await read_logs(network, event, block)]


async def _operators(network: Network, block: int) -> list[Address]:
    """Whoever registered, from the indexed topic: the texts beside it may be anything."""
    event = network.ricochet.events.NodeRegistered()
    logs = await read_logs(network, event, block)
    return [Address("0x" + bytes(log["topics"][1])[-20:].hex()) for log in logs]


async def _deposits(
    network: Network, block: int, budgeting: Iterable[Any]
) -> tuple[Deposited, ...]:
    """The token's transfers to the contract; a gift comes in a transaction that budgets nothing."""
    ours = {event["transactionHash"] for event in budgeting}
    event = network.token.events.Transfer()
    contract = network.deployment.contract
    logs = await network.link.ask(
        network.link.web3.eth.get_logs(
            {
                "address": network.token.address,
                "fromBlock": 0,
                "toBlock": block,
                "topics": [event.topic, None, "0x" + contract[2:].rjust(64, "0")],
            }
        )
    )
    transfers = [event.process_log(log) for log in logs if log["transactionHash"] in ours]
    return tuple(Deposited(address(one["args"]["from"]), one["args"]["value"]) for one in transfers)


async def _moved(network: Network, block: int, name: str, who: str) -> tuple[Moved, ...]:
    events = await _events(network, name, block)
    return tuple(Moved(address(e["args"][who]), e["args"]["amount"]) for e in events)


async def _period(network: Network, block: int, entry: Budgeted) -> PeriodView:
    state = await _view(network, block, "periodOf", entry.subscriber, entry.period)
    budget, committed, paid, _, _, _, closed = state
    return PeriodView(budget, committed, paid, closed)


async def _balance(network: Network, block: int) -> Units:
    call = network.token.functions.balanceOf(network.ricochet.address)
    return Units(await network.link.ask(call.call(block_identifier=block)))


async def _view(network: Network, block: int, name: str, *arguments: Any) -> Any:
    shown = [
        Web3.to_checksum_address(value) if isinstance(value, str) else value for value in arguments
    ]
    call = network.ricochet.functions[name](*shown)
    return await network.link.ask(call.call(block_identifier=block))


def _budgeted(args: Any, amount: str) -> Budgeted:
    return Budgeted(address(args["subscriber"]), args["period"], args[amount])


def _claim(event: Any, successions: Iterable[Any]) -> Claimed:
    args = event["args"]
    treasury = [
        address(one["args"]["newOwner"]) for one in successions if _place(one) < _place(event)
    ][-1]
    amounts = args["cumulative"], args["nodeShare"], args["commission"]
    return Claimed(*_who(args), *amounts, treasury)


def _place(event: Any) -> tuple[int, int]:
    return event["blockNumber"], event["logIndex"]


def _who(args: Any) -> tuple[Address, Address, Period]:
    return address(args["subscriber"]), address(args["node"]), args["period"]


def _unique(accounts: Iterable[Address]) -> tuple[Address, ...]:
    return tuple(dict.fromkeys(accounts))
