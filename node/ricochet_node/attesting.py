"""What an owner states about a provider's written permission, and the signing of it.

The statement is checked and shown in full before anything is asked for: it is a legal claim, made
in the owner's name and shown to everybody who could buy.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from ricochet_node import attestations, policy
from ricochet_node.policy import Verdict
from ricochet_node.sharing import last_day
from ricochet_protocol.eip712 import MAX_COVERS, PROVIDER, Attestation, sign_attestation
from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import Hash32

_LONGEST: Final = 10 * 366 * 24 * 3600
"""A permission that holds for longer than ten years is a slip of the date."""


class Statement(msgspec.Struct, frozen=True):
    """`document` is the SHA-256 of the permission; `expires` is in Unix seconds."""

    provider: str
    document: Hash32
    covers: str
    expires: int

    def check(self) -> None:
        """UsageError when there is nothing to attest, or a field cannot be signed."""
        terms = policy.shipped().named(self.provider)
        if terms is not None and terms.verdict is Verdict.ALLOW:
            raise UsageError(
                "nothing_to_attest",
                f"{self.provider} needs no permission: {terms.clause}",
                "offer its models with `ricochet node offer`",
            )
        if terms is not None and not terms.hosts:
            raise UsageError(
                "nothing_to_attest",
                f"{self.provider} is not one provider, its servers are many",
                "attest for the host in your key's url: `ricochet keys list`",
            )
        if not PROVIDER.fullmatch(self.provider):
            raise UsageError("bad_provider", "not the name of a host", "write it in lower case")
        if not 0 < len(self.covers) <= MAX_COVERS or not self.covers.isprintable():
            raise UsageError(
                "bad_covers",
                f"what is covered takes 1 to {MAX_COVERS} printable characters",
                "say it in one line with --covers",
            )

    def lines(self) -> list[str]:
        """The statement as its author reads it before he signs."""
        terms = policy.shipped().named(self.provider)
        said = f"its terms, as reviewed: {terms.clause}" if terms else "its terms were not reviewed"
        return [
            f"You are about to state, signed with your wallet, for {self.provider} ({said}):",
            f"  - that you hold its written permission, the file of SHA-256 {self.document.hex()};",
            f"  - that it covers: {self.covers};",
            f"  - that it holds through {last_day(self.expires)} (UTC).",
            "Keep the document: subscribers or the provider may ask for it. A false statement may "
            "cost you the account, and you answer for it.",
        ]


def end_of_day(text: str, now: float) -> int:
    """The moment at which a day YYYY-MM-DD is over in UTC; UsageError unless it lies ahead."""
    try:
        last = date.fromisoformat(text)
        ends = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise UsageError(
            "bad_date", f"not a date: {text[:32]!r}", "write it as 2027-06-30"
        ) from None
    if not now < ends.timestamp() <= now + _LONGEST:
        raise UsageError(
            "bad_date",
            f"{last} does not lie ahead, within ten years",
            "give the last day on which the permission holds",
        )
    return int(ends.timestamp())


def sign_and_keep(home: Path, statement: Statement, passphrase: str) -> None:
    """Sign for the home's wallet and network, and keep it in place of an earlier one.

    ConfigurationError without a network or wallet, or `wrong_passphrase`.
    """
    from ricochet_settlement import deployment, wallet

    domain = deployment.load(home).domain
    path = home / "wallet.json"
    value = Attestation(
        operator=wallet.address_of(path),
        provider=statement.provider,
        document=statement.document,
        covers=statement.covers,
        expires=statement.expires,
    )
    signed = sign_attestation(wallet.unlock(path, passphrase), domain, value)
    attestations.keep(home, signed)
