"""The requests peers make of each other and the replies they give: a closed schema.

A request is one message, its answer a sequence of replies that ends or fails. Unknown kinds,
unknown fields and values out of range are refused where the bytes are parsed, in the two
`*_untrusted` functions below, and nowhere else. `Ask` never names an upstream: which provider
answers is the node's own business.
"""

import hashlib
from typing import Final, Literal

import msgspec

from ricochet_protocol.advert import SignedAdvert
from ricochet_protocol.eip712 import SignedReservation, SignedSession, SignedVoucher
from ricochet_protocol.errors import garbage
from ricochet_protocol.ids import Hash32, ModelId, Period, RequestId, request_id
from ricochet_protocol.money import Units
from ricochet_protocol.receipt import SignedReceipt

MAX_DEADLINE: Final = 600
"""Seconds a call may take."""
MAX_TOKENS: Final = 1_000_000
MAX_ADVERTS: Final = 512
"""Adverts in one message; a larger directory takes several."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of every message."""


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message of a conversation with a model."""

    role: Literal["system", "user", "assistant"]
    content: str


class Hello(Message, frozen=True, tag="hello"):
    """Opens paid service on a connection. Answered by `AccountState`."""

    session: SignedSession


class Ask(Message, frozen=True, tag="ask"):
    """One call of one model. Answered by `Chunk`s and an `Answered`, or `PaymentRequired`.

    `deadline` is in seconds from admission. The same `request_id` with the same content replays
    the stored answer without a second call; with other content it is a conflict.
    """

    request_id: RequestId
    period: Period
    model: ModelId
    turns: tuple[Turn, ...]
    max_tokens: int
    deadline: int
    temperature: float = 0.0

    def __post_init__(self) -> None:
        request_id(self.request_id)
        if not self.turns:
            raise ValueError("an ask has at least one turn")
        if not 0 < self.max_tokens <= MAX_TOKENS:
            raise ValueError("max_tokens out of range")
        if not 0 < self.deadline <= MAX_DEADLINE:
            raise ValueError("deadline out of range")
        if not 0.0 <= self.temperature <= 2.0:
            raise ValueError("temperature out of range")

    def digest(self) -> Hash32:
        """SHA-256 of the ask: with subscriber and request id it is the key of a replay."""
        return Hash32(hashlib.sha256(encode(self)).digest())


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


class Chunk(Message, frozen=True, tag="chunk"):
    """A piece of an answer, in order."""

    text: str


class Answered(Message, frozen=True, tag="answered"):
    """The whole answer has been sent; the receipt says what it cost."""

    receipt: SignedReceipt
    finish: Literal["stop", "length"]


class AccountState(Message, frozen=True, tag="account"):
    """How the node stands with this subscriber in `period`.

    `committed` is what the chain has committed to the node, `due` what the node has served,
    `voucher` the highest one it holds: the client resumes from its own signature.
    """

    period: Period
    committed: Units
    due: Units
    voucher: SignedVoucher | None


class PaymentRequired(Message, frozen=True, tag="payment_required"):
    """The ask is not admitted until the commitment is `needed` and vouchers reach `due`."""

    needed: Units
    account: AccountState


class Adverts(Message, frozen=True, tag="adverts"):
    """Part of a directory."""

    adverts: tuple[SignedAdvert, ...]

    def __post_init__(self) -> None:
        _check_count(self.adverts)


Request = Hello | Ask | Pay | Reserve | GetAdverts | Announce
Reply = Chunk | Answered | AccountState | PaymentRequired | Adverts

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


def _check_count(adverts: tuple[SignedAdvert, ...]) -> None:
    if len(adverts) > MAX_ADVERTS:
        raise ValueError(f"at most {MAX_ADVERTS} adverts in a message")
