"""What accounts sign: reservations, vouchers, sessions and attestations, with EIP-712 digests.

A *reservation* sets aside part of a subscriber's budget for one node; a *voucher* is payment to it;
both are cumulative per period, so an older one is harmless. A *session* ties a subscriber to the
two peers of a connection. An *attestation* is an operator's word that a provider permits resale in
writing; it names no account there. The digests agree with the contract and with `eth-account`
through `tests/vectors/eip712.json`. Payments and sessions are signed by the subscriber or his
delegate (the hot session key).

Source: EIP-712; struct types as in `contracts/interfaces/IRicochet.sol`.
"""

import re
from functools import lru_cache
from typing import Final

import msgspec

from ricochet_protocol.errors import garbage
from ricochet_protocol.ids import MAX_UINT32, Address, Hash32, NetworkId, PeerId, Period, address
from ricochet_protocol.money import MAX_UNITS, Units
from ricochet_protocol.signing import keccak256, recover, sign_digest

MAX_COVERS: Final = 256
PROVIDER: Final = re.compile(r"[a-z0-9][a-z0-9.:-]{0,127}")
"""An id such as `openai`, or a host for a provider that the policy does not list."""


class Domain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One deployed contract on one chain: the network everything here belongs to."""

    chain_id: int
    contract: Address

    @property
    def network(self) -> NetworkId:
        """The network's name in adverts and receipts (CAIP-10 form)."""
        return NetworkId(f"eip155:{self.chain_id}:{self.contract}")


class Reservation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`total` units of this period's budget are committed to `node`."""

    subscriber: Address
    node: Address
    period: Period
    total: Units

    def __post_init__(self) -> None:
        _check_payment(self.subscriber, self.node, self.period, self.total)

    def digest(self, domain: Domain) -> Hash32:
        return _digest(domain, _RESERVATION, _payment_words(self, self.total))


class Voucher(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`node` may claim `cumulative` units in all for this period."""

    subscriber: Address
    node: Address
    period: Period
    cumulative: Units

    def __post_init__(self) -> None:
        _check_payment(self.subscriber, self.node, self.period, self.cumulative)

    def digest(self, domain: Domain) -> Hash32:
        return _digest(domain, _VOUCHER, _payment_words(self, self.cumulative))


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`client_peer` speaks for `subscriber` to `node_peer` until `expires` (Unix seconds)."""

    subscriber: Address
    client_peer: PeerId
    node_peer: PeerId
    expires: int

    def __post_init__(self) -> None:
        address(self.subscriber)
        if not 0 <= self.expires < 2**63:
            raise ValueError("expiry out of range")
        if len(self.client_peer) > 64 or len(self.node_peer) > 64:
            raise ValueError("peer id too long")

    def digest(self, domain: Domain) -> Hash32:
        words = (
            _word(self.subscriber)
            + keccak256(self.client_peer.encode())
            + keccak256(self.node_peer.encode())
            + self.expires.to_bytes(32, "big")
        )
        return _digest(domain, _SESSION, words)


class Attestation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`operator` holds a document (its SHA-256) by which `provider` permits what `covers` says.

    `expires` is in Unix seconds. A provider is an id of the sharing policy, or a host's name.
    """

    operator: Address
    provider: str
    document: Hash32
    covers: str
    expires: int

    def __post_init__(self) -> None:
        if not 0 < len(self.covers) <= MAX_COVERS or not self.covers.isprintable():
            raise ValueError(f"what is covered takes 1 to {MAX_COVERS} printable characters")
        self.proof(bytes(65))

    def proof(self, signature: bytes) -> "AttestationProof":
        """What is shown to others: the text of `covers` stays at home."""
        return AttestationProof(
            operator=self.operator,
            provider=self.provider,
            document=self.document,
            covers=keccak256(self.covers.encode()),
            expires=self.expires,
            signature=signature,
        )

    def digest(self, domain: Domain) -> Hash32:
        return self.proof(bytes(65)).digest(domain)


class AttestationProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An attestation as it travels: `covers` is the text's Keccak-256, which is what was signed."""

    operator: Address
    provider: str
    document: Hash32
    covers: Hash32
    expires: int
    signature: bytes

    def __post_init__(self) -> None:
        if self.operator != address(self.operator):
            raise ValueError("accounts are written in lower case")
        if not PROVIDER.fullmatch(self.provider):
            raise ValueError("not a provider's id or host")
        if (len(self.document), len(self.covers), len(self.signature)) != (32, 32, 65):
            raise ValueError("hashes have 32 bytes, a signature 65")
        if not 0 <= self.expires < 2**63:
            raise ValueError("expiry out of range")

    def digest(self, domain: Domain) -> Hash32:
        words = (
            _word(self.operator)
            + keccak256(self.provider.encode())
            + self.document
            + self.covers
            + self.expires.to_bytes(32, "big")
        )
        return _digest(domain, _ATTESTATION, words)

    def signer(self, domain: Domain) -> Address:
        return signer_untrusted(self.digest(domain), self.signature)


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    signature: bytes

    def __post_init__(self) -> None:
        if len(self.signature) != 65:
            raise ValueError("a signature has 65 bytes")


class SignedReservation(_Signed, frozen=True):
    """A reservation as it travels and as `reserve` takes it."""

    reservation: Reservation

    def signer(self, domain: Domain) -> Address:
        return signer_untrusted(self.reservation.digest(domain), self.signature)


class SignedVoucher(_Signed, frozen=True):
    """A voucher as it travels, is stored, and as `claim` takes it."""

    voucher: Voucher

    def signer(self, domain: Domain) -> Address:
        return signer_untrusted(self.voucher.digest(domain), self.signature)


class SignedSession(_Signed, frozen=True):
    """A session as it travels."""

    session: Session

    def signer(self, domain: Domain) -> Address:
        return signer_untrusted(self.session.digest(domain), self.signature)


class SignedAttestation(_Signed, frozen=True):
    """An attestation as the operator keeps it."""

    attestation: Attestation

    @property
    def proof(self) -> AttestationProof:
        """What adverts show of it."""
        return self.attestation.proof(self.signature)

    def signer(self, domain: Domain) -> Address:
        return signer_untrusted(self.attestation.digest(domain), self.signature)


def sign_reservation(key: bytes, domain: Domain, value: Reservation) -> SignedReservation:
    """Sign with a 32-byte private key."""
    return SignedReservation(reservation=value, signature=sign_digest(key, value.digest(domain)))


def sign_voucher(key: bytes, domain: Domain, value: Voucher) -> SignedVoucher:
    """Sign with a 32-byte private key."""
    return SignedVoucher(voucher=value, signature=sign_digest(key, value.digest(domain)))


def sign_session(key: bytes, domain: Domain, value: Session) -> SignedSession:
    """Sign with a 32-byte private key."""
    return SignedSession(session=value, signature=sign_digest(key, value.digest(domain)))


def sign_attestation(key: bytes, domain: Domain, value: Attestation) -> SignedAttestation:
    """Sign with a 32-byte private key."""
    return SignedAttestation(attestation=value, signature=sign_digest(key, value.digest(domain)))


def signer_untrusted(digest: Hash32, signature: bytes) -> Address:
    """Who signed; RemoteFault when the signature recovers nobody."""
    try:
        return recover(digest, signature)
    except ValueError:
        raise garbage("a malformed signature") from None


_PAYMENT = "address subscriber,address node,uint32 period,uint128"
_RESERVATION = f"Reservation({_PAYMENT} total)".encode()
_VOUCHER = f"Voucher({_PAYMENT} cumulative)".encode()
_SESSION = b"Session(address subscriber,string clientPeer,string nodePeer,uint64 expires)"
_ATTESTATION = (
    b"Attestation(address operator,string provider,bytes32 document,string covers,uint64 expires)"
)
_DOMAIN = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"


@lru_cache(maxsize=8)
def _type_hash(description: bytes) -> Hash32:
    return keccak256(description)


@lru_cache(maxsize=16)
def domain_separator(domain: Domain) -> Hash32:
    """The contract's `_domainSeparatorV4`; cached because every signature needs it."""
    version = keccak256(b"Ricochet") + keccak256(b"1")
    chain = domain.chain_id.to_bytes(32, "big")
    return keccak256(_type_hash(_DOMAIN) + version + chain + _word(domain.contract))


def _digest(domain: Domain, description: bytes, words: bytes) -> Hash32:
    content = keccak256(_type_hash(description) + words)
    return keccak256(b"\x19\x01" + domain_separator(domain) + content)


def _payment_words(value: Reservation | Voucher, amount: int) -> bytes:
    return (
        _word(value.subscriber)
        + _word(value.node)
        + value.period.to_bytes(32, "big")
        + amount.to_bytes(32, "big")
    )


def _word(account: Address) -> bytes:
    return bytes.fromhex(account[2:]).rjust(32, b"\0")


def _check_payment(subscriber: Address, node: Address, period: int, amount: int) -> None:
    address(subscriber)
    address(node)
    if subscriber != subscriber.lower() or node != node.lower():
        raise ValueError("accounts are written in lower case")
    if not 0 < period <= MAX_UINT32:
        raise ValueError(f"period out of range: {period}")
    if not 0 <= amount <= MAX_UNITS:
        raise ValueError(f"amount out of range: {amount}")
