"""A fresh contract on the dev chain, with the accounts and writes that tests need."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from web3 import Web3
from web3.types import RPCEndpoint

from ricochet_protocol.ids import Address, PeerId, Period
from ricochet_protocol.money import UNITS_PER_DOLLAR, Units
from ricochet_protocol.signing import account_address
from ricochet_settlement import deploy, faucet, operator, subscriber
from ricochet_settlement.contract import ContractSettlement
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.devchain.accounts import dev_key
from ricochet_settlement.link import Link, Network
from ricochet_settlement.sender import Sender

TREASURY = Address("0x" + "7e" * 20)
RELAYER = 1
"""The dev account whose key pays for gas of reserve, claim and withdraw."""


class ChainWorld:
    """Implements the conformance suite's `World` on the real contract."""

    def __init__(
        self, deployment: Deployment, settlement: ContractSettlement, treasury: Address
    ) -> None:
        self.deployment = deployment
        self.settlement = settlement
        self.treasury = treasury
        self._funded: set[bytes] = set()

    async def fund(self, key: bytes, units: int = 100 * UNITS_PER_DOLLAR) -> Address:
        """Ether and test dollars for an account, once."""
        account = account_address(key)
        if key not in self._funded:
            await faucet.give(self.deployment, account, wei=10**18, units=Units(units))
            self._funded.add(key)
        return account

    async def subscribe(self, key: bytes, fee: Units, delegate: Address) -> Period:
        await self.fund(key)
        return (await subscriber.subscribe(self.deployment, key, fee, delegate)).period

    async def top_up(self, key: bytes, amount: Units) -> None:
        await subscriber.top_up(self.deployment, key, amount)

    async def renew(self, key: bytes) -> None:
        """Open the next period for the account of `key`, which allows it first."""
        network = await Network.open(self.deployment)
        try:
            sender = Sender(network.link, key)
            approval = network.token.encode_abi("approve", [network.ricochet.address, 10**12])
            await sender.send(self.deployment.token, bytes.fromhex(approval[2:]))
        finally:
            await network.close()
        await self.act(key, "setAutoRenew", True)
        await self.act(key, "renew", Web3.to_checksum_address(account_address(key)))

    async def set_delegate(self, key: bytes, delegate: Address) -> None:
        await self.act(key, "setDelegate", Web3.to_checksum_address(delegate))

    async def act(self, key: bytes, function: str, *arguments: object) -> None:
        """A write to the contract for which the product has no command."""
        network = await Network.open(self.deployment)
        try:
            data = network.ricochet.encode_abi(function, arguments)
            sender = Sender(network.link, key)
            await sender.send(self.deployment.contract, bytes.fromhex(data[2:]))
        finally:
            await network.close()

    async def register_node(
        self, key: bytes, peer: PeerId, addresses: tuple[str, ...], payout: Address
    ) -> None:
        await self.fund(key)
        await operator.register_node(self.deployment, key, peer, addresses, payout)

    async def warp(self, seconds: int) -> None:
        await self._develop("evm_increaseTime", seconds)
        # Anvil turns its clock only; the embedded chain has mined by then.
        await self._develop("evm_mine")

    async def mine(self, blocks: int) -> None:
        """Add empty blocks."""
        for _ in range(blocks):
            await self._develop("evm_mine")

    async def save(self) -> None:
        """Remember the chain for `restore`."""
        self._saved = await self._develop("evm_snapshot")

    async def restore(self) -> None:
        """Drop every block since `save`, which may be a reorganisation."""
        assert await self._develop("evm_revert", self._saved) is True

    async def reorganise(self, blocks: int) -> None:
        """Replace the newest blocks by empty ones, as anvil can."""
        await self._develop("anvil_reorg", blocks, [])

    async def _develop(self, method: str, *arguments: object) -> Any:
        link = Link(self.deployment.rpc)
        try:
            done = await link.web3.provider.make_request(RPCEndpoint(method), list(arguments))
        finally:
            await link.close()
        assert "error" not in done, done
        return done["result"]

    async def received(self, account: Address) -> Units:
        network = await Network.open(self.deployment)
        try:
            view = network.token.functions.balanceOf(Web3.to_checksum_address(account))
            return Units(await view.call())
        finally:
            await network.close()


@asynccontextmanager
async def open_world(
    url: str, treasury: Address = TREASURY, confirmations: int = 0, follow: Path | None = None
) -> AsyncIterator[ChainWorld]:
    """Deploy, connect, and close at the end; `follow` is the home of an index."""
    deployment = await deploy.deploy(url, dev_key(0), treasury)
    deployment = msgspec.structs.replace(deployment, confirmations=confirmations)
    settlement = await ContractSettlement.connect(deployment, dev_key(RELAYER), follow=follow)
    try:
        yield ChainWorld(deployment, settlement, treasury)
    finally:
        await settlement.close()
