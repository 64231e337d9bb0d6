"""The requests peers make of each other and the replies they give: a closed schema.

A request is one message, its answer a sequence of replies that ends or fails. Unknown kinds,
unknown fields and values out of range are refused where the bytes are parsed, in the two
`*_untrusted` functions below, and nowhere else. `Ask` never names an upstream: which provider
answers is the node's own business.
"""

import hashlib
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final, Literal

import msgspec

from ricochet_protocol.advert import ModelOffer, SignedAdvert
from ricochet_protocol.conversation import (
    MAX_CALLS,
    AnswerFormat,
    Feature,
    Tool,
    ToolChoice,
    Turn,
    check_stops,
    check_tools,
    check_turns,
    texts_of_turns,
)
from ricochet_protocol.eip712 import SignedReservation, SignedSession, SignedVoucher
from ricochet_protocol.errors import RemoteCode, RemoteFault, garbage
from ricochet_protocol.ids import Hash32, ModelId, PeerId, Period, RequestId, request_id
from ricochet_protocol.money import Units
from ricochet_protocol.receipt import SignedReceipt

MAX_DEADLINE: Final = 600
"""Seconds a call may take."""
MAX_TOKENS: Final = 1_000_000
MAX_ADVERTS: Final = 512
"""Adverts in one message; a larger directory takes several."""
MAX_DIALLED_BACK: Final = 8
"""Addresses at which one request asks to be dialled."""
MAX_GONE: Final = 512
"""Peers that one message says are gone."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of every message."""


class Hello(Message, frozen=True, tag="hello"):
    """Opens paid service on a connection. Answered by `AccountState`."""

    session: SignedSession


class Ask(Message, frozen=True, tag="ask"):
    """One call of one model, answered by `Chunk`s, `CallPiece`s and an `Answered`.

    Or by `PaymentRequired`; and while vouchers do not cover what comes next, a `Due` stands between
    the pieces. `deadline` is in seconds from admission. The same `request_id` with the same content
    replays the stored answer without a second call; with other content it is a conflict.
    `allow_logging` lets the node's owner keep prompt and answer in a log, if he wants that too.
    `terms` is the digest of the advert whose prices hold for the call; empty takes the node's
    present ones. A repetition may name newer terms: they are no part of the content.
    """

    request_id: RequestId
    period: Period
    model: ModelId
    turns: tuple[Turn, ...]
    max_tokens: int
    deadline: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    response_format: AnswerFormat = AnswerFormat()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    allow_logging: bool = False
    terms: bytes = b""

    def __post_init__(self) -> None:
        request_id(self.request_id)
        check_turns(self.turns)
        check_tools(self.tools, self.tool_choice)
        check_stops(self.stop)
        if not 0 < self.max_tokens <= MAX_TOKENS:
            raise ValueError("max_tokens out of range")
        if len(self.terms) not in (0, 32):
            raise ValueError("terms are the 32 bytes of an advert's digest, or empty")
        if not 0 < self.deadline <= MAX_DEADLINE:
            raise ValueError("deadline out of range")
        if not 0.0 <= self.temperature <= 2.0:
            raise ValueError("temperature out of range")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError("top_p out of range")
        if self.seed is not None and not -(2**63) <= self.seed < 2**63:
            raise ValueError("seed out of range")

    def texts(self) -> Iterator[str]:
        """Every text the model reads: both sides count the prompt's tokens over these."""
        yield from texts_of_turns(self.turns)
        for tool in self.tools:
            yield from (tool.name, tool.description, tool.parameters)
        yield self.response_format.schema

    def features(self) -> frozenset[Feature]:
        """What the provider has to understand beyond turns, lengths and temperature."""
        found: set[Feature] = set()
        if self.top_p != 1.0:
            found.add("top_p")
        if self.stop:
            found.add("stop")
        if self.seed is not None:
            found.add("seed")
        if self.response_format.kind != "text":
            found.add(self.response_format.kind)
        if self.tools or any(turn.tool_calls or turn.tool_call_id for turn in self.turns):
            found.add("tools")
        return frozenset(found)

    def digest(self) -> Hash32:
        """SHA-256 of the ask: with subscriber and request id it is the key of a replay."""
        content = msgspec.structs.replace(self, terms=b"") if self.terms else self
        return Hash32(hashlib.sha256(encode(content)).digest())


class Pay(Message, frozen=True, tag="pay"):
    """Hands over a voucher. `AccountState` in answer means: it is on disk."""

    voucher: SignedVoucher


class Reserve(Message, frozen=True, tag="reserve"):
    """Asks the node to relay a reservation. `AccountState` in answer means: it is on the chain."""

    reservation: SignedReservation


class GetAdverts(Message, frozen=True, tag="get_adverts"):
    """Asks for the peer's whole directory. Answered by one or more `Adverts`."""


class Announce(Message, frozen=True, tag="announce"):
    """Passes on adverts that are new to the sender. Answered by nothing but the end."""

    adverts: tuple[SignedAdvert, ...]

    def __post_init__(self) -> None:
        _check_count(self.adverts)


class Gone(Message, frozen=True, tag="gone"):
    """Says who does not answer the sender any more. Answered by nothing but the end."""

    peers: tuple[PeerId, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.peers) <= MAX_GONE:
            raise ValueError(f"1 to {MAX_GONE} peers in a message")
        if any(not 0 < len(peer) <= 64 for peer in self.peers):
            raise ValueError("a peer id has 1 to 64 characters")


class DialBack(Message, frozen=True, tag="dial_back"):
    """Asks for a dial to the sender, at those addresses that have its host. See `DialledBack`."""

    addresses: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.addresses) <= MAX_DIALLED_BACK:
            raise ValueError(f"1 to {MAX_DIALLED_BACK} addresses")
        if any(not 0 < len(one) <= 256 for one in self.addresses):
            raise ValueError("an address has 1 to 256 characters")


class Chunk(Message, frozen=True, tag="chunk"):
    """A piece of an answer, in order."""

    text: str


class CallPiece(Message, frozen=True, tag="call"):
    """A piece of the call of a function.

    The first piece of call `index` (from 0) has its `id` and `name`; later ones leave both empty
    and continue `arguments`. Calls follow each other, text may come in between.
    """

    index: int
    id: str
    name: str
    arguments: str

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_CALLS:
            raise ValueError(f"an answer calls at most {MAX_CALLS} functions")


class Answered(Message, frozen=True, tag="answered"):
    """The whole answer has been sent; the receipt says what it cost."""

    receipt: SignedReceipt
    finish: Literal["stop", "length", "tool_calls"]


class AccountState(Message, frozen=True, tag="account"):
    """How the node stands with this subscriber in `period`.

    `committed` is what the chain has committed to the node, `due` what the node has served,
    `credit` what it serves beyond its vouchers, `voucher` the highest one it holds: the client
    resumes from its own signature.
    """

    period: Period
    committed: Units
    due: Units
    credit: Units
    voucher: SignedVoucher | None


class PaymentRequired(Message, frozen=True, tag="payment_required"):
    """The ask is admitted once the commitment is `commit` and vouchers reach `pay`; ask again."""

    commit: Units
    pay: Units
    account: AccountState


class Due(Message, frozen=True, tag="due"):
    """The answer goes on once vouchers reach `due`: a `Pay` on the same connection."""

    due: Units


class Adverts(Message, frozen=True, tag="adverts"):
    """Part of a directory."""

    adverts: tuple[SignedAdvert, ...]

    def __post_init__(self) -> None:
        _check_count(self.adverts)


class DialledBack(Message, frozen=True, tag="dialled_back"):
    """The asker proved itself at `address`, "" if nowhere; `host` is where it is seen to be."""

    address: str
    host: str

    def __post_init__(self) -> None:
        if len(self.address) > 256 or len(self.host) > 64:
            raise ValueError("address too long")
        if self.host:
            ip_address(self.host)


Request = Hello | Ask | Pay | Reserve | GetAdverts | Announce | Gone | DialBack
Reply = Chunk | CallPiece | Answered | AccountState | PaymentRequired | Due | Adverts | DialledBack

_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(Request)
_replies = msgspec.msgpack.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """The message's bytes; the same value always gives the same bytes."""
    return _encoder.encode(message)


def request_untrusted(data: bytes) -> Request:
    """A request from a peer; RemoteFault for anything else."""
    try:
        request: Request = _requests.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise garbage("an unreadable request") from None
    return request


def reply_untrusted(data: bytes) -> Reply:
    """A reply from a peer; RemoteFault for anything else."""
    try:
        reply: Reply = _replies.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise garbage("an unreadable reply") from None
    return reply


def check_supported(ask: Ask, offer: ModelOffer) -> None:
    """RemoteFault `refused` when the ask needs what the offer does not list."""
    missing = sorted(ask.features() - set(offer.features))
    if missing:
        raise RemoteFault(
            RemoteCode.REFUSED,
            f"the offer does not support {', '.join(missing)}",
            "leave it out, or ask a node whose offer lists it",
        )


def _check_count(adverts: tuple[SignedAdvert, ...]) -> None:
    if len(adverts) > MAX_ADVERTS:
        raise ValueError(f"at most {MAX_ADVERTS} adverts in a message")
