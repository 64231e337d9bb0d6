"""Options of commands that send texts: what is redacted, and whom a run may ask."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ricochet_orchestrator.privacy import Privacy

Redact = Annotated[
    list[str] | None,
    typer.Option(
        "--redact",
        help="Replace before sending: email, phone, iban, card, ip, secret, or all; may be "
        "repeated. Results have the values again.",
    ),
]
Terms = Annotated[
    Path | None,
    typer.Option(
        "--redact-terms", dir_okay=False, help="Replace these too: a file with a term a line."
    ),
]
Region = Annotated[
    str | None,
    typer.Option("--redact-region", help="Phone numbers without a prefix are of there, as DE."),
]
Sensitivity = Annotated[
    str | None,
    typer.Option(
        help="Whom the run may ask: public; attested: nodes that run the model themselves or whose "
        "permission is attested; own: your private nodes. [default: privacy.yaml's, else public]"
    ),
]


def privacy_of(
    redact: list[str] | None,
    terms: Path | None,
    region: str | None,
    sensitivity: str | None,
) -> "Privacy":
    """What the options add to `privacy.yaml`; UsageError."""
    from ricochet_orchestrator import privacy
    from ricochet_protocol.errors import UsageError

    try:
        strict = privacy.Sensitivity(sensitivity or "public")
    except ValueError:
        words = ", ".join(privacy.Sensitivity)
        raise UsageError(
            "bad_sensitivity", f"--sensitivity: {sensitivity!r} is none of {words}", "see --help"
        ) from None
    return privacy.Privacy(
        redact=privacy.kinds_of(redact or ()),
        terms=privacy.terms_of(terms) if terms else (),
        region=region,
        sensitivity=strict,
    )
