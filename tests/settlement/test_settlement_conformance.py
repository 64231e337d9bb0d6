"""The settlement suite on the in-memory twin and on the real contract."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from chain_world import open_world
from settlement_confirmations import ConfirmationConformance
from settlement_conformance import SettlementConformance
from settlement_world import World

from ricochet_protocol.ids import Address, PeerId, Period
from ricochet_protocol.money import Units
from ricochet_protocol.signing import account_address
from twins.settlement import MemorySettlement


class _TwinWorld:
    def __init__(self, confirmations: int) -> None:
        self.settlement = MemorySettlement(confirmations=confirmations)
        self.treasury = self.settlement.treasury

    async def subscribe(self, key: bytes, fee: Units, delegate: Address) -> Period:
        return self.settlement.subscribe(account_address(key), fee, delegate)

    async def top_up(self, key: bytes, amount: Units) -> None:
        self.settlement.top_up(account_address(key), amount)

    async def renew(self, key: bytes) -> None:
        self.settlement.renew(account_address(key))

    async def set_delegate(self, key: bytes, delegate: Address) -> None:
        self.settlement.set_delegate(account_address(key), delegate)

    async def register_node(
        self, key: bytes, peer: PeerId, addresses: tuple[str, ...], payout: Address
    ) -> None:
        self.settlement.register_node(account_address(key), peer, addresses, payout)

    async def warp(self, seconds: int) -> None:
        self.settlement.warp(seconds)

    async def received(self, account: Address) -> Units:
        return Units(self.settlement.received.get(account, 0))

    async def mine(self, blocks: int) -> None:
        self.settlement.mine(blocks)

    async def save(self) -> None:
        self._saved = self.settlement.save()

    async def restore(self) -> None:
        self.settlement.restore(self._saved)


class TestTwin(SettlementConformance, ConfirmationConformance):
    @asynccontextmanager
    async def world(self, confirmations: int = 0) -> AsyncIterator[World]:
        yield _TwinWorld(confirmations)


@pytest.mark.slow
class TestContract(SettlementConformance, ConfirmationConformance):
    @pytest.fixture(autouse=True)
    def chain(self, chain_url: str) -> None:
        self.url = chain_url

    def world(self, confirmations: int = 0) -> AbstractAsyncContextManager[World]:
        return open_world(self.url, confirmations=confirmations)


@pytest.mark.slow
class TestIndexedContract(ConfirmationConformance):
    @pytest.fixture(autouse=True)
    def chain(self, chain_url: str, tmp_path: Path) -> None:
        self.url, self.home = chain_url, tmp_path

    def world(self, confirmations: int = 0) -> AbstractAsyncContextManager[World]:
        return open_world(self.url, confirmations=confirmations, follow=self.home)
