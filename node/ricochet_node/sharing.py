"""May a key's calls be sold now? The policy's verdict, and the owner's attestation against it.

One rule for the node that starts, the node that runs and the commands that show it: calls are sold
when the terms allow it, or while a valid attestation says that the provider allows it in writing. A
private node sells nothing and needs neither.
"""

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ricochet_node import attestations, policy
from ricochet_node.attestations import State
from ricochet_node.keystore import KeyInfo
from ricochet_node.offer import Offer, Source
from ricochet_node.origin import parse_origin
from ricochet_node.policy import Terms, Verdict
from ricochet_protocol.eip712 import AttestationProof, Domain, SignedAttestation
from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.ids import Address
from ricochet_protocol.sharing import MAX_PERMISSIONS, Basis


class Standing(msgspec.Struct, frozen=True):
    """How a provider stands with this owner; `state` is what an attestation is worth, if any."""

    provider: str
    verdict: Verdict
    terms: Terms | None = None
    attestation: SignedAttestation | None = None
    state: State | None = None
    self_hosted: bool = False

    @property
    def allowed(self) -> bool:
        """Whether calls may be sold."""
        return self.verdict is Verdict.ALLOW or self.state is State.VALID

    @property
    def until(self) -> int | None:
        """When a permission ends that is needed and valid, in Unix seconds."""
        needed = self.verdict is not Verdict.ALLOW and self.state is State.VALID
        return self.attestation.attestation.expires if needed and self.attestation else None

    @property
    def words(self) -> str:
        """The standing in a few words, for tables."""
        if self.verdict is Verdict.ALLOW:
            return "allowed"
        if self.state is State.VALID and self.attestation:
            return f"attested until {last_day(self.attestation.attestation.expires)}"
        why = "terms forbid it" if self.verdict is Verdict.DENY else "terms unknown"
        if self.state is State.EXPIRED:
            return f"refused: {why}, attestation expired"
        if self.state is State.FOREIGN:
            return f"refused: {why}, attestation of another wallet or network"
        return f"refused: {why}"

    @property
    def basis(self) -> Basis:
        """By what right an offer of this provider is made; only when it is allowed."""
        if self.self_hosted:
            return Basis()
        return Basis("licence" if self.verdict is Verdict.ALLOW else "attested", self.provider)


class Owner(msgspec.Struct, frozen=True):
    """Whose attestations count, and on which network; None where a home has none yet."""

    home: Path
    operator: Address | None
    domain: Domain | None

    @classmethod
    def of(cls, home: Path) -> "Owner":
        """The owner of a home folder, whether or not it has a wallet and a network yet."""
        from ricochet_settlement import deployment, wallet

        try:
            operator, domain = wallet.address_of(home / "wallet.json"), deployment.load(home).domain
        except ConfigurationError as error:
            if error.code not in ("no_wallet", "no_network"):
                raise
            return cls(home, None, None)
        return cls(home, operator, domain)

    def of_origin(self, origin: str, now: float) -> Standing:
        """How the provider behind a key's origin stands."""
        place = parse_origin(origin)
        return self._standing(
            policy.provider_of(place),
            policy.verdict_of(place),
            policy.shipped().of_host(place.host),
            now,
            place.is_private,
        )

    def of_provider(self, provider: str, now: float) -> Standing:
        """How a provider of the table stands, or the host of that name."""
        terms = policy.shipped().named(provider)
        verdict = terms.verdict if terms else Verdict.UNKNOWN
        return self._standing(provider, verdict, terms, now, verdict is Verdict.ALLOW)

    def of_keys(self, keys: Iterable[KeyInfo], now: float) -> dict[str, Standing]:
        """By key id."""
        return {key.id: self.of_origin(key.origin, now) for key in keys}

    def _standing(
        self, provider: str, verdict: Verdict, terms: Terms | None, now: float, self_hosted: bool
    ) -> Standing:
        signed = attestations.load(self.home).get(provider)
        state = attestations.state_of(signed, self.operator, self.domain, now) if signed else None
        return Standing(provider, verdict, terms, signed, state, self_hosted)


def standings(home: Path, keys: Iterable[KeyInfo]) -> dict[str, Standing]:
    """How each key of a home stands now, by its id; for commands."""
    return Owner.of(home).of_keys(keys, time.time())


def check_sharing(standing_of: Mapping[str, Standing]) -> None:
    """ConfigurationError `sharing_deny` or `sharing_unknown` for a key that may not be sold."""
    for key, standing in standing_of.items():
        if not standing.allowed:
            raise refusal(key, standing)
    if len(proofs(standing_of.values())) > MAX_PERMISSIONS:
        raise ConfigurationError(
            "too_many_permissions",
            f"an advert carries at most {MAX_PERMISSIONS} attestations",
            "offer models of fewer attested providers",
        )


def refusal(key: str, standing: Standing) -> ConfigurationError:
    """The error for a key that may not be sold: what the terms say, and what would help."""
    terms = standing.terms
    if terms is None:
        said = f"the sharing policy does not know {standing.provider}"
    elif terms.verdict is Verdict.UNKNOWN:
        said = f"the terms of {terms.provider} are not confirmed to allow it ({terms.note})"
    else:
        said = f"{terms.provider} forbids it ({terms.clause}; read {terms.reviewed_at})"
    if standing.state is not None:
        said += f"; the attestation does not count, it is {standing.state}"
    where = f" ({terms.url})" if terms and terms.url else ""
    return ConfigurationError(
        f"sharing_{standing.verdict}",
        f"key {key!r} may not be sold: {said}",
        f"offer a model you host yourself; or, with the provider's written permission{where}, run "
        f"`ricochet policy attest {standing.provider} --document FILE --expires DATE`; or serve "
        "only your own wallets with `private` in node.yaml",
    )


def proofs(found: Iterable[Standing]) -> tuple[AttestationProof, ...]:
    """What an advert shows for offers on these standings, in its order."""
    needed = {one.provider: one.attestation.proof for one in found if one.until and one.attestation}
    return tuple(needed[provider] for provider in sorted(needed))


def based(offers: Iterable[Offer], standing_of: Mapping[str, Standing]) -> tuple[Offer, ...]:
    """The offers with the basis on which each of their sources is sold."""
    return tuple(
        offer.over(_on(source, standing_of[source.key].basis) for source in offer.sources)
        for offer in offers
    )


def kept_private(offers: Iterable[Offer]) -> tuple[Offer, ...]:
    """The offers of a node that serves its owner's wallets only: free, and marked as private."""
    return tuple(
        offer.unpaid().over(_on(source, Basis("private")) for source in offer.sources)
        for offer in offers
    )


def private_notices(standing_of: Mapping[str, Standing], served: int) -> tuple[str, ...]:
    """What the owner of a private node is told at its start."""
    notices = [f"private: serves {served} account(s) of node.yaml, unpaid; nothing is sold"]
    for key, one in standing_of.items():
        if not one.allowed:
            terms = one.terms
            said = f"{terms.clause}; {terms.url}" if terms else "its terms were not reviewed"
            notices.append(
                f"key {key}: {one.provider} does not allow selling access ({said}). Only accounts "
                "of your own may be listed; whoever else uses the key breaks its terms"
            )
    return tuple(notices)


def last_day(expires: int) -> str:
    """The last day before a moment, in UTC; the far future when no calendar holds it."""
    try:
        return f"{datetime.fromtimestamp(expires - 1, UTC):%Y-%m-%d}"
    except (OverflowError, ValueError, OSError):
        return "the end of time"


def _on(source: Source, basis: Basis) -> Source:
    return msgspec.structs.replace(source, basis=basis)
