"""What a node offers, signed by its peer key, and the rules by which others believe it.

An advert replaces the same peer's earlier one when its `seq` is higher. Its life (`ttl`) runs on
the receiver's clock from first sight; `issued_at` only has to be plausible. Whether the operator
really runs that peer is not said here: the registry on the chain maps operator to peer.
"""

from enum import Enum
from functools import lru_cache
from typing import Any, Final

import msgspec

from ricochet_protocol.conversation import Feature
from ricochet_protocol.eip712 import AttestationProof, Domain
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import Address, Hash32, ModelId, NetworkId, PeerId, address
from ricochet_protocol.money import MAX_UNITS, PricePerMillion
from ricochet_protocol.sharing import Basis, check_bases, check_permissions, is_believed
from ricochet_protocol.signing import keccak256, sign_statement, statement_is_from

MAX_TTL: Final = 600
"""Seconds; DESIGN §5."""
CLOCK_TOLERANCE: Final = 15 * 60
"""Seconds by which `issued_at` may differ from the receiver's clock."""
MAX_ADVERT: Final = 16 * 1024
MAX_MODELS: Final = 64
MAX_ADDRESSES: Final = 8
_KIND = b"ricochet/advert/1\0"


class ModelOffer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model at one price; `context` is the window in tokens.

    `slots` are the calls that the node can serve at once now, `free` those it could take besides
    the calls that were open when it signed, `tokens_left` what its keys' limits leave of this
    minute, None without a limit. `features` are what an ask may use beyond turns, lengths and
    temperature; each once, sorted. `bases` say by what right it is offered: all must hold, since a
    call may go to any of the node's providers.
    """

    id: ModelId
    context: int
    price_in: PricePerMillion
    price_out: PricePerMillion
    slots: int
    features: tuple[Feature, ...] = ()
    bases: tuple[Basis, ...] = (Basis(),)
    free: int = 0
    tokens_left: int | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.id) <= 128 or not self.id.isprintable():
            raise ValueError("a model id has 1 to 128 printable characters")
        if not 0 < self.context <= 2**31 or not 0 < self.slots <= 4096:
            raise ValueError("context or slots out of range")
        if not 0 <= self.free <= self.slots or not 0 <= (self.tokens_left or 0) <= 2**53:
            raise ValueError("free slots or tokens out of range")
        if not (0 <= self.price_in <= MAX_UNITS and 0 <= self.price_out <= MAX_UNITS):
            raise ValueError("price out of range")
        if list(self.features) != sorted(set(self.features)):
            raise ValueError("features are sorted, each once")
        check_bases(self.bases)
        if self.is_private and (self.price_in or self.price_out):
            raise ValueError("what is private has no price")

    @property
    def is_private(self) -> bool:
        """Whether it is for the operator's own clients."""
        return self.bases[0].kind == "private"


class Advert(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node's offers at a moment; `addresses` are multiaddrs, `issued_at` Unix seconds.

    `permissions` are the operator's attestations that the offers' bases refer to.
    """

    peer: PeerId
    addresses: tuple[str, ...]
    operator: Address
    network: NetworkId
    models: tuple[ModelOffer, ...]
    region: str
    version: str
    seq: int
    issued_at: int
    ttl: int
    permissions: tuple[AttestationProof, ...] = ()

    def __post_init__(self) -> None:
        if self.operator != address(self.operator):
            raise ValueError("accounts are written in lower case")
        if len(self.peer) > 64 or not 0 < len(self.addresses) <= MAX_ADDRESSES:
            raise ValueError(f"an advert names a peer and 1 to {MAX_ADDRESSES} addresses")
        if any(len(text) > 256 for text in self.addresses):
            raise ValueError("address too long")
        if len(self.models) > MAX_MODELS:
            raise ValueError(f"an advert offers at most {MAX_MODELS} models")
        if len(self.region) > 32 or len(self.version) > 32 or len(self.network) > 128:
            raise ValueError("region, version or network too long")
        if not (0 <= self.seq < 2**63 and 0 <= self.issued_at < 2**63 and 0 < self.ttl <= MAX_TTL):
            raise ValueError("seq, issued_at or ttl out of range")
        check_permissions(
            (basis for offer in self.models for basis in offer.bases), self.permissions
        )

    def offer(self, model: ModelId) -> ModelOffer | None:
        """The offer of `model`, None when the node has none."""
        return next((offer for offer in self.models if offer.id == model), None)

    def believed(self, model: ModelId, domain: Domain, now: float) -> ModelOffer | None:
        """The offer of `model` when all its bases hold at `now` (Unix seconds)."""
        offer = self.offer(model)
        if offer is None:
            return None
        proofs, operator = self.permissions, self.operator
        holds = all(is_believed(basis, proofs, operator, domain, now) for basis in offer.bases)
        return offer if holds else None

    def statement(self) -> bytes:
        """The bytes the peer signs."""
        return _KIND + _encoder.encode(self)

    def digest(self) -> Hash32:
        """What receipts cite."""
        return _digest(self)


class SignedAdvert(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An advert as it travels."""

    advert: Advert
    signature: bytes


_encoder = msgspec.msgpack.Encoder()


@lru_cache(maxsize=64)
def _digest(advert: Advert) -> Hash32:
    # Every receipt cites the one advert that is current.
    return keccak256(advert.statement())


def sign_advert(seed: bytes, advert: Advert) -> SignedAdvert:
    """Sign with the peer's 32-byte Ed25519 seed."""
    return SignedAdvert(advert=advert, signature=sign_statement(seed, advert.statement()))


class AdvertFlaw(Enum):
    """Why an advert is not believed; the value completes "peer sent …"."""

    FOREIGN = "an advert of another network"
    STALE = "an advert from another time (check both clocks)"
    OVERSIZED = "an oversized advert"
    FORGED = "an advert with a false signature"


class FalseAdvert(RemoteFault):
    """An advert that is not believed, and why."""

    def __init__(self, flaw: AdvertFlaw) -> None:
        super().__init__(RemoteCode.GARBAGE, f"peer sent {flaw.value}")
        self.flaw = flaw

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.flaw,)


def check_advert_untrusted(signed: SignedAdvert, network: NetworkId, now: float) -> Advert:
    """The advert, when its signature, network and time hold; FalseAdvert otherwise."""
    advert = signed.advert
    if advert.network != network:
        raise FalseAdvert(AdvertFlaw.FOREIGN)
    if abs(advert.issued_at - now) > CLOCK_TOLERANCE:
        raise FalseAdvert(AdvertFlaw.STALE)
    if len(advert.statement()) > MAX_ADVERT:
        raise FalseAdvert(AdvertFlaw.OVERSIZED)
    if not statement_is_from(advert.peer, advert.statement(), signed.signature):
        raise FalseAdvert(AdvertFlaw.FORGED)
    return advert
