"""The index of one network in one home: followed by `sync`, asked at the newest block or deep.

Who only wants one number of now asks the contract itself (`reading.py`), which takes no history.
The index is for what the contract does not keep, and for what has to be confirmed again and again.
"""

from pathlib import Path

from ricochet_settlement.index_source import RpcSource
from ricochet_settlement.index_store import IndexStore
from ricochet_settlement.index_view import IndexView
from ricochet_settlement.indexer import Indexer
from ricochet_settlement.link import Network


class ChainIndex:
    """Made by `open`, closed by its owner; the network stays its owner's."""

    def __init__(self, indexer: Indexer, store: IndexStore, depth: int) -> None:
        self._indexer = indexer
        self._store = store
        self._depth = depth

    @classmethod
    async def open(cls, network: Network, home: Path | None) -> "ChainIndex":
        """Take up `chain.db` of the home, or read into memory; nothing is read before `sync`.

        ChainError; LocalFault `index_unwritable` or `index_damaged`.
        """
        deployment = network.deployment
        source = RpcSource(network.link, deployment.contract)
        store = IndexStore(home, await source.identity())
        indexer = Indexer(source, store, deployment.first_block)
        return cls(indexer, store, deployment.depth)

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._store.close()

    async def sync(self) -> None:
        """Follow the chain to its newest block; errors as for `Indexer.sync`."""
        await self._indexer.sync()

    @property
    def head(self) -> IndexView:
        """As of the newest block that was followed."""
        return IndexView(self._store)

    @property
    def confirmed(self) -> IndexView:
        """As of the newest block that is deep enough to be believed."""
        return IndexView(self._store, self._depth)
