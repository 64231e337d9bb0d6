"""An in-memory twin of a chain's logs: it reorganises, lags, refuses, contradicts itself.

It passes the suite that JSON-RPC passes on real chains (`tests/settlement/source_conformance.py`).
"""

from collections.abc import Callable
from typing import Any

from eth_abi.abi import encode

from ricochet_protocol.errors import ChainError
from ricochet_protocol.ids import Address
from ricochet_protocol.signing import keccak256
from ricochet_settlement.artifact import artifact
from ricochet_settlement.index_events import event_topic
from ricochet_settlement.index_source import Block, Log, RangeRefused

Event = tuple[tuple[bytes, ...], bytes]
"""Topics and data, before a block gives them a place."""


def event(name: str, **values: Any) -> Event:
    """What the contract writes for that event."""
    (entry,) = (one for one in artifact("Ricochet").abi if one.get("name") == name)
    fields = [(field["type"], values[field["name"]], field["indexed"]) for field in entry["inputs"]]
    topics = [encode([kind], [value]) for kind, value, indexed in fields if indexed]
    plain = [(kind, value) for kind, value, indexed in fields if not indexed]
    data = encode([kind for kind, _ in plain], [value for _, value in plain])
    return (event_topic(entry), *topics), data


def subscribed(who: Address, period: int, fee: int, delegate: Address, start: int = 0) -> Event:
    """A period of a hundred seconds."""
    return event(
        "Subscribed",
        subscriber=who,
        period=period,
        fee=fee,
        delegate=delegate,
        start=start,
        end=start + 100,
    )


def reserved(who: Address, node: Address, period: int, total: int) -> Event:
    """A commitment rose to `total`."""
    return event("Reserved", subscriber=who, node=node, period=period, total=total)


def claimed(
    who: Address, node: Address, period: int, cumulative: int, share: int, rest: int
) -> Event:
    """A node is paid up to `cumulative`."""
    return event(
        "Claimed",
        subscriber=who,
        node=node,
        period=period,
        cumulative=cumulative,
        nodeShare=share,
        commission=rest,
    )


class MemoryLogs:
    """Implements `LogSource`; a block a call of `add`, ten seconds apart."""

    def __init__(self) -> None:
        self.blocks: list[tuple[Block, tuple[Log, ...]]] = []
        self.reachable = True
        self.lag = 0
        """Blocks at the end that the server does not show."""
        self.widest = 10**9
        """Blocks in a range beyond which it is refused."""
        self.asked: list[str] = []
        self.before: Callable[[str], None] = lambda question: None
        """Called before each answer, which may be about another chain than the one before."""
        self.twist: Callable[[tuple[Log, ...]], tuple[Log, ...]] = lambda logs: logs
        """What the server makes of the logs it gives."""
        self._forks = 0
        self.add()

    # What tests do to the chain.

    def add(self, *events: Event) -> Block:
        """Mine a block with these events."""
        number = len(self.blocks)
        parent = self.blocks[-1][0].hash if self.blocks else bytes(32)
        seed = repr((number, self._forks, parent, events)).encode()
        block = Block(number, keccak256(seed), parent, 1000 + 10 * number)
        logs = tuple(
            Log(number, block.hash, 3 * place, topics, data)
            for place, (topics, data) in enumerate(events)
        )
        self.blocks.append((block, logs))
        return block

    def grow(self, blocks: int) -> None:
        """Mine empty blocks."""
        for _ in range(blocks):
            self.add()

    def undo(self, blocks: int) -> None:
        """Drop the newest blocks; what comes now is another fork."""
        del self.blocks[len(self.blocks) - blocks :]
        self._forks += 1

    # The port.

    async def identity(self) -> str:
        self._answer("identity")
        return f"1:0x{self.blocks[0][0].hash.hex()}:0xc0"

    async def head(self) -> Block:
        self._answer("head")
        return self._shown()[-1][0]

    async def block(self, number: int) -> Block | None:
        self._answer("block")
        return self._shown()[number][0] if number < len(self._shown()) else None

    async def logs_in(self, block: Block) -> tuple[Log, ...]:
        self._answer("logs_in")
        for known, logs in self._shown():
            if known.hash == block.hash:
                return self.twist(logs)
        raise ChainError("chain_refused", "the chain refused: unknown block", "Try again.")

    async def logs_between(self, first: int, last: int) -> tuple[Log, ...]:
        self._answer("logs_between")
        if last - first >= self.widest:
            raise RangeRefused("query returned more than 10000 results")
        return self.twist(tuple(log for _, logs in self._shown()[first : last + 1] for log in logs))

    def _shown(self) -> list[tuple[Block, tuple[Log, ...]]]:
        return self.blocks[: max(1, len(self.blocks) - self.lag)]

    def _answer(self, question: str) -> None:
        self.asked.append(question)
        self.before(question)
        if not self.reachable:
            raise ChainError("chain_unreachable", "the twin's chain is switched off", "Wait.")
