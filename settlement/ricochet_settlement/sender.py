"""The transaction queue of a key over a chain's JSON-RPC: what every write goes through."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ricochet_settlement.deployment import Deployment
from ricochet_settlement.link import Link, Network
from ricochet_settlement.transaction_chain import RpcChain
from ricochet_settlement.transaction_queue import Terms, TransactionQueue, Watch


@dataclass(frozen=True)
class Outbox:
    """Where transactions are kept (`home`, else in memory), and who hears of them."""

    home: Path | None = None
    watch: Watch | None = None


IN_MEMORY: Final = Outbox()


class Sender(TransactionQueue):
    """See `TransactionQueue`; the link stays its caller's."""

    def __init__(
        self, link: Link, key: bytes, outbox: Outbox = IN_MEMORY, terms: Terms | None = None
    ) -> None:
        super().__init__(RpcChain(link), key, outbox.home, outbox.watch, terms)


@asynccontextmanager
async def writing(
    deployment: Deployment, key: bytes, outbox: Outbox
) -> AsyncIterator[tuple[Network, Sender]]:
    """A network and the sender of one key on it, for as long as the context lasts."""
    network = await Network.open(deployment)
    try:
        sender = Sender(network.link, key, outbox)
        try:
            yield network, sender
        finally:
            sender.close()
    finally:
        await network.close()
