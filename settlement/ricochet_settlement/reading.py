"""What the contract says, as the protocol's values; the registry's text is untrusted.

Anyone may write anything into the registry, so an entry that names no peer, or is not even text, is
no entry: one prankster must not be able to hide the others.
"""

from collections.abc import Sequence
from typing import Any

from eth_typing import HexStr
from web3 import Web3
from web3.contract.async_contract import AsyncContractEvent
from web3.exceptions import LogTopicError
from web3.types import BlockIdentifier, EventData, LogReceipt, TxReceipt

from ricochet_protocol.errors import ChainError
from ricochet_protocol.ids import Address, PeerId, Period, address, peer_public_key
from ricochet_protocol.money import Units
from ricochet_protocol.ports import Commitment, NodeRecord, Subscription
from ricochet_settlement.link import Network

ZERO_ADDRESS = Address("0x" + "00" * 20)
_PAYOUT_PLACE = 32 + 2 * 32
"""In the answer of `nodeOf`: after the struct's offset and two words of the struct."""


async def read_subscription(network: Network, subscriber: Address) -> Subscription | None:
    """The running period, or the last that ran; None for an account that never subscribed."""
    ask, views = network.link.ask, network.ricochet.functions
    account = Web3.to_checksum_address(subscriber)
    period = await ask(views.currentPeriod(account).call())
    return await read_period(network, subscriber, Period(period))


async def read_period(network: Network, subscriber: Address, period: Period) -> Subscription | None:
    """One period with the delegate of now; None if it was never opened."""
    ask, views = network.link.ask, network.ricochet.functions
    account = Web3.to_checksum_address(subscriber)
    budget, committed, paid, _, start, end, _ = await ask(views.periodOf(account, period).call())
    if end == 0:
        return None
    return Subscription(
        subscriber=subscriber,
        delegate=address(await ask(views.delegateOf(account).call())),
        period=Period(period),
        budget=Units(budget),
        committed=Units(committed),
        paid=Units(paid),
        start=start,
        end=end,
    )


async def read_commitment(
    network: Network, subscriber: Address, period: Period, node: Address
) -> Commitment:
    """A node's account within a period; zeroes when there is none."""
    committed, claimed = await read_account(network, subscriber, period, node)
    confirmed = committed
    if network.deployment.depth:
        confirmed = Units(0)
        block = await _confirmed_block(network)
        if block is not None:
            confirmed, _ = await read_account(network, subscriber, period, node, block)
    return Commitment(committed, claimed, confirmed)


async def read_earned(network: Network, subscriber: Address, node: Address) -> Units:
    """Confirmed claims of all the subscriber's periods for the node."""
    block = await _confirmed_block(network)
    if block is None:
        return Units(0)
    newest = network.ricochet.functions.currentPeriod(Web3.to_checksum_address(subscriber))
    earned = 0
    for number in range(1, await network.link.ask(newest.call()) + 1):
        _, claimed = await read_account(network, subscriber, Period(number), node, block)
        earned += claimed
    return Units(earned)


async def _confirmed_block(network: Network) -> int | None:
    """The newest block that is deep enough; None while the chain has none, or no contract in it."""
    link = network.link
    block = await link.ask(link.web3.eth.block_number) - network.deployment.depth
    if block < 0 or not await link.ask(link.web3.eth.get_code(network.ricochet.address, block)):
        return None
    return block


async def read_account(
    network: Network,
    subscriber: Address,
    period: Period,
    node: Address,
    block: BlockIdentifier = "latest",
) -> tuple[Units, Units]:
    """What that block says is committed and claimed."""
    call = network.ricochet.functions.accountOf(
        Web3.to_checksum_address(subscriber), period, Web3.to_checksum_address(node)
    )
    committed, claimed = await network.link.ask(call.call(block_identifier=block))
    return Units(committed), Units(claimed)


async def read_node(network: Network, operator: Address) -> NodeRecord | None:
    """The operator's registry entry, if it names a peer."""
    call = network.ricochet.functions.nodeOf(Web3.to_checksum_address(operator))
    try:
        peer, addresses, payout, _, _ = await network.link.ask(call.call())
    except UnicodeDecodeError:
        return None
    return registry_record_untrusted(operator, peer, addresses, address(payout))


async def read_payout(network: Network, operator: Address) -> Address | None:
    """Where the operator's income goes, whatever its entry says besides; None if it has none."""
    payout, _, _ = await read_payout_change(network, operator)
    return None if payout == ZERO_ADDRESS else payout


async def read_payout_change(network: Network, operator: Address) -> tuple[Address, Address, int]:
    """The payout, the one queued to replace it, and from when; zeroes for what there is not."""
    data = network.ricochet.encode_abi("nodeOf", [Web3.to_checksum_address(operator)])
    raw = await network.link.ask(
        network.link.web3.eth.call({"to": network.ricochet.address, "data": HexStr(data)})
    )
    # The texts before them may be no texts, so they are read by their place in the struct.
    words = [bytes(raw[at : at + 32]) for at in range(_PAYOUT_PLACE, _PAYOUT_PLACE + 96, 32)]
    payout, queued = (Address("0x" + word[-20:].hex()) for word in words[:2])
    return payout, queued, int.from_bytes(words[2], "big")


async def read_nodes(network: Network) -> tuple[NodeRecord, ...]:
    """Every operator that names a peer, in order of first registration."""
    latest: dict[Address, NodeRecord | None] = {}
    event = network.ricochet.events.NodeRegistered()
    for log in await read_logs(network, event):
        operator = Address("0x" + bytes(log["topics"][1])[-20:].hex())
        try:
            values: dict[str, Any] = dict(event.process_log(log)["args"])
        except (UnicodeDecodeError, LogTopicError):
            latest[operator] = None
            continue
        latest[operator] = registry_record_untrusted(
            operator, values["peerId"], values["multiaddrs"], address(values["payout"])
        )
    return tuple(record for record in latest.values() if record is not None)


async def read_logs(
    network: Network, event: AsyncContractEvent, last: BlockIdentifier = "latest"
) -> Sequence[LogReceipt]:
    """All logs of one kind that the contract wrote up to a block, oldest first."""
    return await network.link.ask(
        network.link.web3.eth.get_logs(
            {
                "address": network.ricochet.address,
                "fromBlock": 0,
                "toBlock": last,
                "topics": [event.topic],
            }
        )
    )


def events_of(network: Network, receipt: TxReceipt, names: Sequence[str]) -> list[EventData]:
    """The contract's events of these names in one transaction, in the order they were written."""
    kinds = {}
    for name in names:
        event = network.ricochet.events[name]()
        kinds[event.topic.removeprefix("0x")] = event
    found = []
    for log in receipt["logs"]:
        kind = kinds.get(bytes(log["topics"][0]).hex()) if log["topics"] else None
        if kind is not None and log["address"] == network.ricochet.address:
            found.append(kind.process_log(log))
    return found


def registry_record_untrusted(
    operator: Address, peer: str, addresses: Sequence[str], payout: Address
) -> NodeRecord | None:
    """The entry, if it names a peer and a payout."""
    if payout == ZERO_ADDRESS:
        return None
    try:
        peer_public_key(PeerId(peer))
    except ValueError:
        return None
    return NodeRecord(
        operator=operator, peer=PeerId(peer), addresses=tuple(addresses), payout=payout
    )


def unexpected_events(found: int, expected: int) -> ChainError:
    """The error for a transaction whose events do not answer for each entry."""
    return ChainError(
        "unexpected_events",
        f"the contract wrote {found} events for {expected} entries",
        "Check that `contract` in network.json is the contract of this version of Ricochet.",
    )
