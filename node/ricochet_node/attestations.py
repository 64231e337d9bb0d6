"""The owner's attestations of written permission: `attestations.json`, readable by him only.

Each says that the operator holds a document by which a provider permits paid sharing; the document
stays where it is, its SHA-256 is what is kept. The operator's wallet has signed it for one network,
so what another wallet or network left in the file counts for nothing, and what has expired counts
as none.
"""

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from ricochet_protocol.eip712 import Domain, SignedAttestation
from ricochet_protocol.errors import ConfigurationError, RemoteFault, UsageError
from ricochet_protocol.ids import Address, Hash32
from ricochet_settlement.private_file import read_private, write_private

FILE_NAME: Final = "attestations.json"


class State(StrEnum):
    """What an attestation is worth; `foreign` is one of another wallet or network."""

    VALID = "valid"
    EXPIRED = "expired"
    FOREIGN = "foreign"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    attestations: tuple[SignedAttestation, ...]

    def __post_init__(self) -> None:
        if self.version != 1:
            raise ValueError("version is not 1")


def load(home: Path) -> dict[str, SignedAttestation]:
    """By provider; empty without a file. ConfigurationError `attestations_damaged`."""
    path = home / FILE_NAME
    if not path.exists():
        return {}
    try:
        file = msgspec.json.decode(read_private(path), type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(
            "attestations_damaged",
            f"{path} is damaged: {error}",
            "restore it from a backup, or move it away and run `ricochet policy attest` again",
        ) from None
    return {signed.attestation.provider: signed for signed in file.attestations}


def keep(home: Path, signed: SignedAttestation) -> None:
    """Add an attestation, in place of an earlier one of the same provider."""
    _save(home, load(home) | {signed.attestation.provider: signed})


def revoke(home: Path, provider: str) -> SignedAttestation:
    """Forget the attestation of a provider; ConfigurationError `no_attestation` without one."""
    held = load(home)
    if provider not in held:
        raise ConfigurationError(
            "no_attestation",
            f"there is no attestation for {provider[:128]!r}",
            "run `ricochet policy show` to see what there is",
        )
    gone = held.pop(provider)
    _save(home, held)
    return gone


def state_of(
    signed: SignedAttestation, operator: Address | None, domain: Domain | None, now: float
) -> State:
    """What it is worth to this operator on this network at `now` (Unix seconds)."""
    if operator is None or domain is None or signed.attestation.operator != operator:
        return State.FOREIGN
    try:
        signer = signed.signer(domain)
    except RemoteFault:
        return State.FOREIGN
    if signer != operator:
        return State.FOREIGN
    return State.VALID if signed.attestation.expires > now else State.EXPIRED


def document_hash(path: Path) -> Hash32:
    """The SHA-256 of the file that holds the permission; UsageError `bad_document`."""
    try:
        with path.open("rb") as file:
            if not file.peek(1):
                raise UsageError(
                    "bad_document", f"{path} is empty", "give the provider's letter or contract"
                )
            return Hash32(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise UsageError(
            "bad_document", f"cannot read {path}: {error.strerror}", "check the path and its rights"
        ) from None


def _save(home: Path, held: dict[str, SignedAttestation]) -> None:
    file = _File(version=1, attestations=tuple(held[provider] for provider in sorted(held)))
    data = msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"
    write_private(home / FILE_NAME, data)
