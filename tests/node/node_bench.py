"""A node over twins: in-memory network and chain, the provider double, a real ledger; and a client.

The upstream is asked without a vault (its own tests have one): the double's base path `v1` stands
in for the key id, and the provider's key for the vault's token.
"""

import asyncio
import io
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doubles.upstream import UpstreamDouble
from ricochet_network.memory_transport import MemoryNetwork
from ricochet_network.peers import PeerNetwork
from ricochet_node.config import ClaimSettings, NodeConfig
from ricochet_node.direct import DirectUpstream
from ricochet_node.http_client import FOREVER, Answer, HttpClient, Patience
from ricochet_node.key_room import Room, Rooms
from ricochet_node.key_states import KeyStates
from ricochet_node.ledger import Ledger
from ricochet_node.log import EventLog
from ricochet_node.node import Identity, Node
from ricochet_node.offer import Offer, Source
from ricochet_node.sharing_watch import Look, nothing_sold
from ricochet_node.supply import Supply
from ricochet_node.vault_link import VaultLink
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.eip712 import (
    Reservation,
    Session,
    SignedVoucher,
    Voucher,
    sign_reservation,
    sign_session,
    sign_voucher,
)
from ricochet_protocol.ids import Address, ModelId, PeerId, Period, RequestId
from ricochet_protocol.messages import (
    AccountState,
    Answered,
    Ask,
    Chunk,
    Hello,
    Pay,
    Reply,
    Request,
    Reserve,
    Turn,
)
from ricochet_protocol.money import PricePerMillion, Units
from ricochet_protocol.signing import account_address, peer_of
from twins.settlement import MemorySettlement

PROVIDER_KEY = "sk-test-0123456789abcdef"
NODE_SEED = b"\x01" * 32
CLIENT_SEED = b"\x02" * 32
SUBSCRIBER_KEY = b"\x03" * 32
DELEGATE_KEY = b"\x04" * 32
STRANGER_KEY = b"\x05" * 32
SUBSCRIBER = account_address(SUBSCRIBER_KEY)
OPERATOR = Address("0x" + "0b" * 20)
MODEL = ModelId("m")
PROMPT = "tell me all of it"
"""Five words, five tokens: with the prices below an answer costs 5 units and 2 for each word."""
FEE = 10_000_000


def offer(**changes: Any) -> Offer:
    shown: dict[str, Any] = {
        "id": MODEL,
        "context": 1000,
        "price_in": PricePerMillion(1_000_000),
        "price_out": PricePerMillion(2_000_000),
        "slots": 2,
    }
    return Offer(ModelOffer(**{**shown, **changes}), (Source("v1", "real"),))


def config(**changes: Any) -> NodeConfig:
    settings: dict[str, Any] = {
        "offers": (offer(),),
        "claim": ClaimSettings(minimum=Units(100), ether_price=Units(0)),
    }
    return NodeConfig(**{**settings, **changes})


class NoLimits:
    """The rooms of an owner who limits nothing."""

    def of(self, key: str) -> Room:
        return Room()


@dataclass
class Client:
    """A subscriber's peer; every method is one call of the node."""

    network: PeerNetwork
    chain: MemorySettlement
    node: PeerId
    period: Period
    _ids: "itertools.count[int]" = field(default_factory=itertools.count)

    async def send(self, request: Request) -> list[Reply]:
        async with self.network.call(self.node, request) as replies:
            return [reply async for reply in replies]

    async def state(self, request: Request) -> AccountState:
        (reply,) = await self.send(request)
        assert isinstance(reply, AccountState)
        return reply

    async def hello(self, key: bytes = DELEGATE_KEY, **changes: Any) -> AccountState:
        values: dict[str, Any] = {
            "subscriber": SUBSCRIBER,
            "client_peer": self.network.peer,
            "node_peer": self.node,
            "expires": self.chain.now + 3600,
        }
        session = Session(**{**values, **changes})
        return await self.state(Hello(sign_session(key, self.chain.domain, session)))

    async def reserve(self, total: int, key: bytes = DELEGATE_KEY, **changes: Any) -> AccountState:
        values: dict[str, Any] = {
            "subscriber": SUBSCRIBER,
            "node": OPERATOR,
            "period": self.period,
            "total": Units(total),
        }
        reservation = Reservation(**{**values, **changes})
        return await self.state(Reserve(sign_reservation(key, self.chain.domain, reservation)))

    def voucher(self, cumulative: int, key: bytes = DELEGATE_KEY, **changes: Any) -> SignedVoucher:
        values: dict[str, Any] = {
            "subscriber": SUBSCRIBER,
            "node": OPERATOR,
            "period": self.period,
            "cumulative": Units(cumulative),
        }
        return sign_voucher(key, self.chain.domain, Voucher(**{**values, **changes}))

    async def commit(self, total: int) -> None:
        """Have the chain commit that much, without the node's help; it reads that at the Hello."""
        value = Reservation(SUBSCRIBER, OPERATOR, self.period, Units(total))
        await self.chain.reserve([sign_reservation(DELEGATE_KEY, self.chain.domain, value)])
        await self.hello()

    async def open_account(self, amount: int = 50_000) -> None:
        """Say Hello, reserve, and pay all of it ahead."""
        await self.hello()
        await self.reserve(amount)
        await self.pay(amount)

    async def pay(self, cumulative: int) -> AccountState:
        return await self.state(Pay(self.voucher(cumulative)))

    def request(self, prompt: str = PROMPT, **changes: Any) -> Ask:
        values: dict[str, Any] = {
            "request_id": RequestId(f"{next(self._ids):032x}"),
            "period": self.period,
            "model": MODEL,
            "turns": (Turn("user", prompt),),
            "max_tokens": 50,
            "deadline": 60,
        }
        return Ask(**{**values, **changes})

    async def ask(self, ask: Ask | None = None) -> tuple[str, Answered]:
        *chunks, answered = await self.send(ask or self.request())
        assert isinstance(answered, Answered), answered
        return "".join(chunk.text for chunk in chunks if isinstance(chunk, Chunk)), answered


async def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until other tasks have made `condition` true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nobody signals a change of a directory
            await asyncio.sleep(0.002)


@dataclass
class Bench:
    chain: MemorySettlement
    upstream: UpstreamDouble
    supply: Supply
    node: Node
    ledger: Ledger
    client: Client
    wires: MemoryNetwork
    log_text: io.StringIO
    home: Path

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log_text.getvalue().splitlines()]
        return [line for line in lines if line["event"] == name]


class _NoVault(VaultLink):
    """Goes straight to the double, with the key that in truth only a vault holds."""

    def __init__(self, http: HttpClient, origin: str) -> None:
        self._http = http
        self._origin = origin

    async def send(self, target: str, body: bytes, patience: Patience = FOREVER) -> Answer:
        headers = {"Authorization": f"Bearer {PROVIDER_KEY}", "Content-Type": "application/json"}
        return await self._http.send("POST", self._origin, target, headers, body, patience)


@asynccontextmanager
async def running(
    home: Path,
    settings: NodeConfig | None = None,
    sharing: Look = nothing_sold,
    rooms: Rooms | None = None,
) -> AsyncIterator[Bench]:
    """A node that has joined, and a client on the same network with a running subscription."""
    chain = MemorySettlement()
    chain.register_node(OPERATOR, peer_of(NODE_SEED), (), OPERATOR)
    chain.subscribe(SUBSCRIBER, FEE, account_address(DELEGATE_KEY))
    wires = MemoryNetwork()
    log_text = io.StringIO()
    ledger = Ledger(home / "node.db")
    settings = settings or config()
    states = KeyStates(home / "pool.db", dict.fromkeys(settings.keys, "mark"), chain.now)
    async with UpstreamDouble([PROVIDER_KEY]) as upstream, HttpClient() as http:
        log = EventLog(log_text)
        supply = Supply(
            settings,
            ledger,
            DirectUpstream(http, _NoVault(http, upstream.base_url.removesuffix("/v1"))),
            log,
            lambda: chain.now,
            sharing,
            states,
            rooms or NoLimits(),
        )
        node = Node(
            Identity(peer=peer_of(NODE_SEED), operator=OPERATOR, seed=NODE_SEED),
            settings,
            chain,
            ledger,
            supply,
            log,
            lambda: chain.now,
        )
        network = chain.domain.network
        served = PeerNetwork(
            wires.transport(NODE_SEED), NODE_SEED, network, (), node.door, clock=lambda: chain.now
        )
        await served.start()
        await node.join(served)
        calling = PeerNetwork(
            wires.transport(CLIENT_SEED),
            CLIENT_SEED,
            network,
            served.addresses,
            clock=lambda: chain.now,
        )
        await calling.start()
        client = Client(calling, chain, served.peer, Period(1))
        work = asyncio.create_task(node.run())
        try:
            yield Bench(chain, upstream, supply, node, ledger, client, wires, log_text, home)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await calling.stop()
            await served.stop()
            ledger.close()
            states.close()


def run(
    home: Path,
    scenario: Callable[[Bench], Awaitable[None]],
    settings: NodeConfig | None = None,
    sharing: Look = nothing_sold,
    rooms: Rooms | None = None,
) -> None:
    """Run a scenario on a bench, within a minute."""

    async def inner() -> None:
        async with asyncio.timeout(60), running(home, settings, sharing, rooms) as bench:
            await scenario(bench)

    asyncio.run(inner())
