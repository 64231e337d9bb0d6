"""The transaction queue of a key over a chain's JSON-RPC: what every write goes through."""

from pathlib import Path

from ricochet_settlement.link import Link
from ricochet_settlement.transaction_chain import RpcChain
from ricochet_settlement.transaction_queue import Terms, TransactionQueue, Watch


class Sender(TransactionQueue):
    """See `TransactionQueue`; the link stays its caller's."""

    def __init__(
        self,
        link: Link,
        key: bytes,
        home: Path | None = None,
        watch: Watch | None = None,
        terms: Terms | None = None,
    ) -> None:
        super().__init__(RpcChain(link), key, home, watch, terms)
