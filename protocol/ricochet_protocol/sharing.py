"""On what basis an offer is sold, and when peers believe it.

`own`: a machine of the node's owner answers. `licence`: a provider whose terms let anyone resell.
`attested`: a provider that allows it in writing, which the operator's signed attestation says.
`private`: nothing is sold, the node serves its owner's wallets only.

Nobody can see from outside who answers a node's calls: `own` is the node's word. What can be
checked is checked, so that an offer that admits to need a permission is worth nothing without one.
Accounts at providers and names of keys appear nowhere here.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal

import msgspec

from ricochet_protocol.eip712 import PROVIDER, AttestationProof, Domain
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import Address

Kind = Literal["own", "licence", "attested", "private"]
MAX_PERMISSIONS: Final = 8
"""Attestations in one advert, each of another provider."""
MAX_BASES: Final = 16
"""Of one offer: it may be served by several providers, each by a right of its own."""
LICENSED: Final[frozenset[str]] = frozenset()
"""Hosted providers known to let anyone resell: those that the node's policy table allows. There is
none yet, so `licence` is not believed of any."""


class Basis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why an offer may be made; `provider` is empty unless its permission is what counts."""

    kind: Kind = "own"
    provider: str = ""

    def __post_init__(self) -> None:
        if (self.kind in ("licence", "attested")) != bool(self.provider):
            raise ValueError("a licence and an attestation name their provider, nothing else does")
        if self.provider and not PROVIDER.fullmatch(self.provider):
            raise ValueError("not a provider's id or host")


def bases_of(each: Iterable[Basis]) -> tuple[Basis, ...]:
    """As an offer carries them: each once, sorted."""
    return tuple(sorted(set(each), key=lambda basis: (basis.kind, basis.provider)))


def check_bases(bases: tuple[Basis, ...]) -> None:
    """ValueError unless they are what `bases_of` gives; `private` stands alone."""
    if not 0 < len(bases) <= MAX_BASES or bases != bases_of(bases):
        raise ValueError(f"an offer has 1 to {MAX_BASES} bases, sorted, each once")
    if len(bases) > 1 and any(basis.kind == "private" for basis in bases):
        raise ValueError("what is private has no other basis")


def check_permissions(bases: Iterable[Basis], proofs: tuple[AttestationProof, ...]) -> None:
    """ValueError unless there is one proof for each provider that needs it, and none besides."""
    needed = sorted({basis.provider for basis in bases if basis.kind == "attested"})
    if len(proofs) > MAX_PERMISSIONS:
        raise ValueError(f"an advert has at most {MAX_PERMISSIONS} permissions")
    if [proof.provider for proof in proofs] != needed:
        raise ValueError("permissions are sorted, one for each provider that needs it")


def is_believed(
    basis: Basis,
    proofs: tuple[AttestationProof, ...],
    operator: Address,
    domain: Domain,
    now: float,
) -> bool:
    """Whether an offer of `operator` on this basis counts at `now` (Unix seconds).

    `private` counts as well: for whom is the caller's to decide.
    """
    if basis.kind == "licence":
        return basis.provider in LICENSED
    if basis.kind == "attested":
        return any(
            proof.provider == basis.provider
            and proof.operator == operator
            and proof.expires > now
            and _is_signed(proof, domain)
            for proof in proofs
        )
    return True


@lru_cache(maxsize=4096)
def _is_signed(proof: AttestationProof, domain: Domain) -> bool:
    # Cached because adverts are looked at for every call, and a recovery costs a tenth of a
    # millisecond.
    try:
        return proof.signer(domain) == proof.operator
    except RemoteFault:
        return False
