"""Where a subscriber stands with the contract, as `ricochet subscription show` tells it.

Spending is what nodes have claimed so far, from the contract's events; vouchers that a node holds
back are not on the chain yet and appear as part of what is committed to it.
"""

import msgspec
from web3 import Web3
from web3.types import LogReceipt

from ricochet_protocol.ids import Address, Period, address
from ricochet_protocol.money import Units
from ricochet_protocol.ports import Subscription
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.link import Network
from ricochet_settlement.reading import read_subscription


class NodeSpending(msgspec.Struct, frozen=True):
    """What one period commits to a node, and how much of it the node has claimed."""

    period: Period
    node: Address
    committed: Units
    claimed: Units


class Standing(msgspec.Struct, frozen=True):
    """`subscription` is the latest period, `now` the chain's time in Unix seconds.

    `refundable` is the subscriber's to take; `closable` are ended periods whose rest becomes so.
    """

    subscription: Subscription | None
    now: int
    auto_renew: bool
    refundable: Units
    closable: tuple[Period, ...]
    nodes: tuple[NodeSpending, ...]

    @property
    def running(self) -> bool:
        """Whether a period is paid and has not ended."""
        return self.subscription is not None and self.now < self.subscription.end


async def standing(deployment: Deployment, subscriber: Address) -> Standing:
    """Read it at the newest block; ChainError when the chain cannot be read."""
    network = await Network.open(deployment)
    try:
        return await read_standing(network, subscriber)
    finally:
        await network.close()


async def read_standing(network: Network, subscriber: Address) -> Standing:
    """The same over an open network."""
    ask, views = network.link.ask, network.ricochet.functions
    account = Web3.to_checksum_address(subscriber)
    now = (await ask(network.link.web3.eth.get_block("latest")))["timestamp"]
    window = await ask(views.CLAIM_WINDOW().call())
    closable = []
    for number in range(1, await ask(views.currentPeriod(account).call()) + 1):
        *_, end, closed = await ask(views.periodOf(account, number).call())
        if not closed and now >= end + window:
            closable.append(Period(number))
    return Standing(
        subscription=await read_subscription(network, subscriber),
        now=now,
        auto_renew=await ask(views.autoRenewOf(account).call()),
        refundable=Units(await ask(views.refundable(account).call())),
        closable=tuple(closable),
        nodes=await _spending(network, subscriber),
    )


async def _spending(network: Network, subscriber: Address) -> tuple[NodeSpending, ...]:
    reserved, claimed = (network.ricochet.events[name]() for name in ("Reserved", "Claimed"))
    logs = await network.link.ask(
        network.link.web3.eth.get_logs(
            {
                "address": network.ricochet.address,
                "fromBlock": 0,
                "topics": [
                    [reserved.topic, claimed.topic],
                    Web3.to_hex(bytes.fromhex(subscriber[2:]).rjust(32, b"\0")),
                ],
            }
        )
    )
    # Both amounts are cumulative and only grow, so the last event of each says all.
    sums: dict[tuple[Period, Address], NodeSpending] = {}
    for log in logs:
        paid = _topic(log) == claimed.topic.removeprefix("0x")
        values = (claimed if paid else reserved).process_log(log)["args"]
        key = Period(values["period"]), address(values["node"])
        old = sums.get(key, NodeSpending(*key, committed=Units(0), claimed=Units(0)))
        sums[key] = (
            msgspec.structs.replace(old, claimed=values["cumulative"])
            if paid
            else msgspec.structs.replace(old, committed=values["total"])
        )
    return tuple(sums[key] for key in sorted(sums))


def _topic(log: LogReceipt) -> str:
    return bytes(log["topics"][0]).hex()
