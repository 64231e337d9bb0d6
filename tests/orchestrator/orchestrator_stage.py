"""A whole network in memory for the orchestrator's tests, on a virtual clock."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.peers import PeerNetwork
from ricochet_network.virtual_time import run_virtual
from ricochet_orchestrator.account import Payer
from ricochet_orchestrator.chain_language import Chain, ChainStep
from ricochet_orchestrator.chains import TEMPLATES, get
from ricochet_orchestrator.document import Document, document_from
from ricochet_orchestrator.entering import enter
from ricochet_orchestrator.ownership import owning
from ricochet_orchestrator.progress import Event
from ricochet_orchestrator.request import Options
from ricochet_orchestrator.result import RunResult
from ricochet_orchestrator.routing import DEFAULTS, RoutingSettings
from ricochet_orchestrator.run import work_on
from ricochet_orchestrator.segment import TokenCounter
from ricochet_orchestrator.setting import Setting
from ricochet_orchestrator.store import Store
from ricochet_protocol.ids import Address, ModelId
from ricochet_protocol.money import UNITS_PER_DOLLAR
from ricochet_protocol.signing import account_address
from ricochet_protocol.steps import Metered
from ricochet_protocol.tokens import count_tokens
from twins.scripted_node import OFFER, ScriptedNode
from twins.settlement import DOMAIN, MemorySettlement

SUBSCRIBER = Address("0x" + "5b" * 20)
SESSION_KEY = bytes([7]) * 32
CLIENT_SEED = bytes([9]) * 32
PAYER = Payer(SUBSCRIBER, DOMAIN, SESSION_KEY)
OVERVIEW = get("overview", (TEMPLATES,))
MAPPED = ChainStep("reader", "analyzer", "map", "segments", "{text}\nExplain.", 60)
JOINED = ChainStep("writer", "integrator", "reduce", "reader", "{text}\nJoin.", 60)
SHORT = Chain("short", (MAPPED, JOINED))
"""Maps small segments, then joins: cheap to run many times."""
ADVANCE = Metered(OFFER, 1000, 60).opening
"""What a node may hold for an answer that did not come: a prompt and a first step of `SHORT`."""
T = TypeVar("T")


def numbered(paragraphs: int, words: int = 900) -> Document:
    """A document of so many segments: each paragraph fills most of a window."""
    text = "\n\n\n".join(f"Part {number}. " + "word " * words for number in range(paragraphs))
    return document_from("numbered.txt", text)


@dataclass
class Stage:
    """Nodes, contract and store; `play` runs a chain over a document on it."""

    home: Path
    settlement: MemorySettlement = field(default_factory=MemorySettlement)
    network: MemoryNetwork = field(default_factory=MemoryNetwork)
    nodes: list[ScriptedNode] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    subscribed: bool = True
    on_event: Callable[[Event], None] = lambda _: None
    make_store: Callable[[Path], Store] = Store
    payer: Payer = PAYER
    routing: RoutingSettings = DEFAULTS
    allow_logging: bool = False
    count: TokenCounter = count_tokens
    client_seed: bytes = CLIENT_SEED

    def __post_init__(self) -> None:
        if self.subscribed:
            self.subscribe()

    def subscribe(self) -> None:
        fee = 10 * UNITS_PER_DOLLAR
        self.settlement.subscribe(SUBSCRIBER, fee, account_address(SESSION_KEY))

    def node(self, number: int, **settings: object) -> ScriptedNode:
        """Add a registered node."""
        seed = bytes([100 + number]) * 32
        node = ScriptedNode(seed, self.settlement, self.network, **settings)  # type: ignore[arg-type]  # passed on
        node.register()
        self.nodes.append(node)
        return node

    @property
    def calls(self) -> int:
        """Calls that reached a provider."""
        return sum(len(node.calls) for node in self.nodes)

    @asynccontextmanager
    async def setting(self, seed: int = 0) -> AsyncIterator[Setting]:
        """What one process works with: a client peer and an open store of its own."""
        bootstrap = [address for node in self.nodes for address in node.peers.addresses]
        peers = PeerNetwork(
            self.network.transport(self.client_seed),
            self.client_seed,
            self.settlement.domain.network,
            bootstrap,
            clock=lambda: self.settlement.now,
        )
        store = self.make_store(self.home / "runs.db")
        try:
            await peers.start()
            yield Setting(
                peers=peers,
                settlement=self.settlement,
                store=store,
                payer=self.payer,
                count=self.count,
                seed=seed,
                clock=lambda: self.settlement.now,
                tell=self._tell,
                allow_logging=self.allow_logging,
                routing=self.routing,
            )
        finally:
            await peers.stop()
            store.close()

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """Start nodes that are not running; stop all at the end."""
        for node in self.nodes:
            await node.restart()
        try:
            yield
        finally:
            for node in self.nodes:
                await node.stop()

    async def play(
        self,
        document: Document,
        chain: Chain = SHORT,
        model: ModelId | None = None,
        stop: asyncio.Event | None = None,
        seed: int = 0,
        parameters: Mapping[str, str] | None = None,
        options: Options | None = None,
    ) -> RunResult:
        """One process's run: a client peer and an open store of its own."""
        options = options or Options(
            model,
            seed,
            allow_logging=self.allow_logging,
            parameters=dict(parameters or {}),
            routing=self.routing,
        )
        store = self.make_store(self.home / "runs.db")
        try:
            run, _ = enter(store, document, chain, options, self.settlement.now)
        finally:
            store.close()
        return await self.work(run.id, stop)

    async def work(self, run_id: str, stop: asyncio.Event | None = None) -> RunResult:
        """One process's work on a run that was entered."""
        async with self.setting() as setting:
            request = setting.store.request(run_id)
            options = Options() if request is None else request.options
            setting = replace(
                setting,
                seed=options.seed,
                routing=options.routing,
                allow_logging=options.allow_logging,
                context=options.context,
            )
            with owning(self.home, run_id):
                return await work_on(setting, run_id, stop or asyncio.Event(), "run it again")

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self.on_event(event)

    def heard(self, kind: type[T]) -> list[T]:
        """Events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def owed(self, node: ScriptedNode) -> int:
        """What the voucher the node holds is worth."""
        return node.vouchered

    def paid_fairly(self, node: ScriptedNode) -> bool:
        """Whether the node holds vouchers for all it served, and for at most an advance more."""
        return node.due <= node.vouchered <= node.due + ADVANCE


def on(stage: Stage, scene: Callable[[], Awaitable[T]]) -> T:
    """Play a scene with the stage's nodes up, on virtual time."""

    async def all_of_it() -> T:
        async with stage.up():
            return await scene()

    return run_virtual(all_of_it())


def play(stage: Stage, document: Document, chain: Chain = SHORT, **settings: object) -> RunResult:
    """`Stage.play` as a whole scene."""
    return on(stage, lambda: stage.play(document, chain, **settings))  # type: ignore[arg-type]  # passed on


def costs(nodes: Sequence[ScriptedNode]) -> int:
    """What the nodes have served, by their own books."""
    return sum(node.due for node in nodes)
