"""The contract as node and orchestrator see it: `ports.Settlement` over a chain's JSON-RPC.

Writes go through one sender with the process's gas key, which has no rights in the contract.
Outcomes are what the transaction's events say, never what was hoped for.
"""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from web3 import Web3

from ricochet_protocol.eip712 import SignedReservation, SignedVoucher
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.money import Units
from ricochet_protocol.ports import Commitment, NodeRecord, Outcome, Subscription
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.first_peers import first_peers
from ricochet_settlement.index import ChainIndex
from ricochet_settlement.link import Network
from ricochet_settlement.reading import (
    events_of,
    read_account,
    read_commitment,
    read_earned,
    read_node,
    read_nodes,
    read_period,
    read_subscription,
    unexpected_events,
)
from ricochet_settlement.sender import IN_MEMORY, Outbox, Sender
from ricochet_settlement.skip import SKIPS, Skip

_DONE = Outcome(accepted=True)


class ContractSettlement:
    """Made by `connect`, closed by its owner; belongs to one event loop."""

    def __init__(self, network: Network, sender: Sender, index: ChainIndex | None) -> None:
        self.domain = network.deployment.domain
        self._network = network
        self._sender = sender
        self._index = index

    @classmethod
    async def connect(
        cls,
        deployment: Deployment,
        gas_key: bytes,
        outbox: Outbox = IN_MEMORY,
        *,
        follow: Path | None = None,
    ) -> "ContractSettlement":
        """Connect; with a home in `outbox`, take up the transactions that are under way in it.

        With a home in `follow`, what is confirmed comes from the index there: for who asks often,
        or about the past. ConfigurationError `wrong_chain` or `wrong_contract`; ChainError;
        LocalFault `queue_in_use`, or about the index's file.
        """
        network = await Network.open(deployment)
        sender = Sender(network.link, gas_key, outbox)
        index = None
        try:
            if follow is not None:
                index = await ChainIndex.open(network, follow)
                await index.sync()
            if outbox.home is not None:
                await sender.resume()
        except BaseException:
            if index is not None:
                index.close()
            sender.close()
            await network.close()
            raise
        return cls(network, sender, index)

    async def close(self) -> None:
        """Close connections, queue and index; may be called twice."""
        if self._index is not None:
            self._index.close()
        self._sender.close()
        await self._network.close()

    async def subscription(self, subscriber: Address) -> Subscription | None:
        return await read_subscription(self._network, subscriber)

    async def period(self, subscriber: Address, period: Period) -> Subscription | None:
        return await read_period(self._network, subscriber, period)

    async def chain_time(self) -> int:
        latest = await self._network.link.ask(self._network.link.web3.eth.get_block("latest"))
        return latest["timestamp"]

    async def commitment(self, subscriber: Address, period: Period, node: Address) -> Commitment:
        if self._index is None:
            return await read_commitment(self._network, subscriber, period, node)
        await self._index.sync()
        confirmed, _ = self._index.confirmed.commitment(subscriber, period, node)
        committed, claimed = await read_account(self._network, subscriber, period, node)
        # The server may have taken a block back between the two, or shown one of them wrong.
        return Commitment(committed, claimed, Units(min(confirmed, committed)))

    async def earned(self, subscriber: Address, node: Address) -> Units:
        if self._index is None:
            return await read_earned(self._network, subscriber, node)
        await self._index.sync()
        return self._index.confirmed.earned(subscriber, node)

    async def node(self, operator: Address) -> NodeRecord | None:
        return await read_node(self._network, operator)

    async def nodes(self) -> tuple[NodeRecord, ...]:
        if self._index is None:
            return await read_nodes(self._network)
        await self._index.sync()
        return tuple(one.record for one in self._index.head.nodes())

    async def first_peers(self, draw: Random) -> tuple[str, ...]:
        """Multiaddrs of nodes to join the network at, drawn from the registry's confirmed entries.

        Only for who follows the chain.
        """
        if self._index is None:
            raise ValueError("first peers need an index")
        await self._index.sync()
        nodes = self._index.confirmed.nodes()
        return first_peers(nodes, draw, development=not self._network.deployment.public)

    async def reserve(self, reservations: Sequence[SignedReservation]) -> tuple[Outcome, ...]:
        expected = [await self._foresee(entry) for entry in reservations]
        if all(skip is not None for skip in expected):
            # The first entry that could pass alone passes in the batch too, so here none would.
            return tuple(Outcome(accepted=False, reason=skip) for skip in expected if skip)
        rows = [
            (_checksummed(value.subscriber), _checksummed(value.node), value.period, value.total)
            for value in (entry.reservation for entry in reservations)
        ]
        signatures = [entry.signature for entry in reservations]
        return await self._batch("reserve", rows, signatures, "Reserved", "ReservationSkipped")

    async def claim(self, vouchers: Sequence[SignedVoucher]) -> tuple[Outcome, ...]:
        if not vouchers:
            return ()
        return await self._batch("claim", *_claim_arguments(vouchers), "Claimed", "VoucherSkipped")

    async def claim_cost(self, vouchers: Sequence[SignedVoucher]) -> int:
        ask, eth = self._network.link.ask, self._network.link.web3.eth
        call = self._network.ricochet.functions.claim(*_claim_arguments(vouchers))
        return await ask(call.estimate_gas()) * await ask(eth.gas_price)

    async def withdrawable(self, account: Address) -> Units:
        view = self._network.ricochet.functions.withdrawable(_checksummed(account))
        return Units(await self._network.link.ask(view.call()))

    async def withdraw(self, account: Address) -> Units:
        if not await self.withdrawable(account):
            return Units(0)
        receipt = await self._transact("withdraw", _checksummed(account))
        return Units(
            sum(
                event["args"]["amount"]
                for event in events_of(self._network, receipt, ["Withdrawn"])
            )
        )

    async def _batch(
        self,
        function: str,
        rows: Sequence[Any],
        signatures: Sequence[bytes],
        done: str,
        skipped: str,
    ) -> tuple[Outcome, ...]:
        receipt = await self._transact(function, rows, signatures)
        events = events_of(self._network, receipt, [done, skipped])
        if len(events) != len(rows):
            raise unexpected_events(len(events), len(rows))
        return tuple(
            _DONE
            if event["event"] == done
            else Outcome(accepted=False, reason=SKIPS[event["args"]["reason"]])
            for event in events
        )

    async def _transact(self, function: str, *arguments: Any) -> Any:
        ricochet = self._network.ricochet
        data = bytes.fromhex(ricochet.encode_abi(function, arguments)[2:])
        return await self._sender.send(self._network.deployment.contract, data, label=function)

    async def _foresee(self, entry: SignedReservation) -> Skip | None:
        """What the contract would do with this entry alone; the order of its checks is kept.

        `reserve` returns nothing and a call shows no events, so the simulation is done here.
        """
        value = entry.reservation
        ask, views = self._network.link.ask, self._network.ricochet.functions
        subscriber = _checksummed(value.subscriber)
        period = await ask(views.periodOf(subscriber, value.period).call())
        budget, committed, _, _, start, end, _ = period
        now = (await ask(self._network.link.web3.eth.get_block("latest")))["timestamp"]
        if end == 0 or now < start:
            return Skip.NO_PERIOD
        if now >= end:
            return Skip.PERIOD_ENDED
        held = await self.commitment(value.subscriber, value.period, value.node)
        if value.total <= held.committed:
            return Skip.NOT_RAISED
        try:
            signer = entry.signer(self.domain)
        except RemoteFault:
            return Skip.BAD_SIGNATURE
        if signer != value.subscriber:
            delegation = views.delegationOf(subscriber, _checksummed(signer))
            last_period, raises_until = await ask(delegation.call())
            if value.period > last_period or now >= raises_until:
                return Skip.BAD_SIGNATURE
        if value.total - held.committed > budget - committed:
            return Skip.BUDGET_EXCEEDED
        return None


def _claim_arguments(vouchers: Sequence[SignedVoucher]) -> tuple[list[Any], list[bytes]]:
    rows = [
        (_checksummed(value.subscriber), _checksummed(value.node), value.period, value.cumulative)
        for value in (entry.voucher for entry in vouchers)
    ]
    return rows, [entry.signature for entry in vouchers]


def _checksummed(account: Address) -> str:
    return Web3.to_checksum_address(account)
