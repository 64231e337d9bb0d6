"""A node's signed statement of what one call used and cost.

It cites the ask, the advert and the answer by hash, so that a subscriber can show who promised
what. It is signed by the node's peer key: the operator's account may be a cold wallet. A receipt
is no proof of which model answered; see `docs/trust-model.md`.
"""

import hashlib

import msgspec

from ricochet_protocol.conversation import ToolCall
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import Address, Hash32, NetworkId, PeerId, Period, RequestId
from ricochet_protocol.money import MAX_UNITS, Units
from ricochet_protocol.signing import sign_statement, statement_is_from

_KIND = b"ricochet/receipt/1\0"


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`exact` usage comes from the provider, otherwise the node counted. `due` is cumulative."""

    network: NetworkId
    subscriber: Address
    operator: Address
    period: Period
    request_id: RequestId
    ask: Hash32
    advert: Hash32
    answer: Hash32
    tokens_in: int
    tokens_out: int
    exact: bool
    cost: Units
    due: Units

    def __post_init__(self) -> None:
        if not (0 <= self.tokens_in < 2**40 and 0 <= self.tokens_out < 2**40):
            raise ValueError("usage out of range")
        if not 0 <= self.cost <= self.due <= MAX_UNITS:
            raise ValueError("cost out of range")

    def statement(self) -> bytes:
        """The bytes the peer signs."""
        return _KIND + _encoder.encode(self)


class SignedReceipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A receipt as it travels and as the client stores it."""

    receipt: Receipt
    signature: bytes


_encoder = msgspec.msgpack.Encoder()


def answer_digest(text: str, calls: tuple[ToolCall, ...] = ()) -> Hash32:
    """SHA-256 of the msgpack of `[text, calls]`: all that a model said."""
    return Hash32(hashlib.sha256(_encoder.encode((text, calls))).digest())


def sign_receipt(seed: bytes, receipt: Receipt) -> SignedReceipt:
    """Sign with the peer's 32-byte Ed25519 seed."""
    return SignedReceipt(receipt=receipt, signature=sign_statement(seed, receipt.statement()))


def check_receipt_untrusted(signed: SignedReceipt, peer: PeerId, expected: Receipt) -> Receipt:
    """The receipt, when `peer` signed it and it says what the client knows to be so.

    `expected` carries the client's own view; usage, cost and due are the node's claim and are
    judged by `usage.py`. RemoteFault otherwise.
    """
    receipt = signed.receipt
    known = msgspec.structs.replace(
        expected,
        tokens_in=receipt.tokens_in,
        tokens_out=receipt.tokens_out,
        exact=receipt.exact,
        cost=receipt.cost,
        due=receipt.due,
    )
    if receipt != known:
        raise RemoteFault(RemoteCode.REFUSED, "peer's receipt is for something else")
    if not statement_is_from(peer, receipt.statement(), signed.signature):
        raise RemoteFault(RemoteCode.REFUSED, "peer's receipt has a false signature")
    return receipt
