"""`ricochet policy`: what providers' terms say about paid sharing, and the owner's permissions."""

import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t, told
from ricochet_cli.secret_input import PassphraseFile, passphrase
from ricochet_protocol.errors import UsageError

if TYPE_CHECKING:
    from ricochet_node.sharing import Standing

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Which providers' access may be sold, and the written permissions you attest.",
)
Provider = Annotated[
    str,
    typer.Argument(help="A provider from `ricochet policy show`, or the host your key is for."),
]


@app.command("show")
def show(
    home: Home,
    provider: Annotated[
        str | None, typer.Argument(help="One provider or host. [default: all]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each provider's terms say, and until when you have attested a permission.

    `deny` and `unknown` are not sold without a written permission of the provider.
    """
    from ricochet_node import attestations
    from ricochet_node.policy import shipped
    from ricochet_node.sharing import Owner

    owner, now = Owner.of(home), time.time()
    listed = [terms.provider for terms in shipped().provider]
    names = [provider] if provider else [*listed, *(attestations.load(home).keys() - set(listed))]
    found = [owner.of_provider(_known(name), now) for name in names]
    if as_json:
        documents = [_document(one) for one in found]
        print_json(documents[0] if provider else {"version": shipped().version, "of": documents})
    elif provider:
        typer.echo(_all_of(found[0]))
    else:
        rows = [
            (one.provider, one.verdict, str(one.terms.reviewed_at) if one.terms else "-", one.words)
            for one in found
        ]
        typer.echo(table(("provider", "verdict", "reviewed", "paid sharing"), rows))
        say("clauses and addresses of the terms: ricochet policy show PROVIDER")


@app.command("attest")
def attest(
    home: Home,
    provider: Provider,
    document: Annotated[
        Path, typer.Option(dir_okay=False, help="The provider's written permission.")
    ],
    expires: Annotated[str, typer.Option(help="The last day it holds, YYYY-MM-DD (UTC).")],
    covers: Annotated[
        str, typer.Option(help="What the permission covers, in your words.")
    ] = "paid access of third parties through Ricochet",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign that you hold a provider's written permission to sell access.

    The document stays with you: its SHA-256 is kept and signed with your wallet. Your adverts show
    provider, hashes, expiry and signature to everyone; clients refuse your offers without them.
    """
    from ricochet_node import attestations
    from ricochet_node.attesting import Statement, end_of_day, sign_and_keep
    from ricochet_node.sharing import Owner

    statement = Statement(
        provider=_known(provider),
        document=attestations.document_hash(document),
        covers=covers,
        expires=end_of_day(expires, time.time()),
    )
    statement.check()
    for line in statement.lines():
        say(line)
    if not yes:
        _confirm()
    sign_and_keep(home, statement, passphrase(passphrase_file))
    standing = Owner.of(home).of_provider(provider, time.time())
    if as_json:
        print_json(_document(standing))
    else:
        say(
            "{provider}: {words}; a running node has to be started again to offer it",
            provider=provider,
            words=told(standing.words),
        )


@app.command("revoke")
def revoke(home: Home, provider: Provider, as_json: AsJson = False) -> None:
    """Forget an attestation; a running node takes back what needs it within ten seconds."""
    from ricochet_node import attestations
    from ricochet_node.sharing import Owner

    attestations.revoke(home, provider)
    if as_json:
        print_json(_document(Owner.of(home).of_provider(provider, time.time())))
    else:
        say("the attestation for {provider} is gone", provider=provider)


def _known(provider: str) -> str:
    """An id of the table, or a host that the table does not list; UsageError otherwise."""
    from ricochet_node.policy import shipped

    if shipped().named(provider) is not None:
        return provider
    listed = shipped().of_host(provider)
    if listed is not None:
        raise UsageError(
            "unknown_provider",
            f"{provider} is listed as {listed.provider}",
            f"name it {listed.provider}",
        )
    if "." not in provider and ":" not in provider:
        raise UsageError(
            "unknown_provider",
            f"there is no provider {provider[:64]!r}",
            "`ricochet policy show` lists them; name any other by its host, as in "
            "`ricochet keys list`",
        )
    return provider


def _confirm() -> None:
    import sys

    if not sys.stdin.isatty():
        raise UsageError(
            "not_confirmed",
            "there is no terminal to confirm on",
            "read what is stated, then give --yes",
        )
    typer.confirm(t("Do you state this?"), abort=True, err=True)


def _document(one: "Standing") -> dict[str, Any]:
    terms, signed = one.terms, one.attestation
    return {
        "provider": one.provider,
        "verdict": one.verdict,
        "allowed": one.allowed,
        "clause": terms.clause if terms else "",
        "note": terms.note if terms else "",
        "url": terms.url if terms else "",
        "reviewed_at": terms.reviewed_at.isoformat() if terms else None,
        "attestation": signed
        and {
            "state": one.state,
            "operator": signed.attestation.operator,
            "document_sha256": signed.attestation.document.hex(),
            "covers": signed.attestation.covers,
            "expires": signed.attestation.expires,
        },
    }


def _all_of(one: "Standing") -> str:
    from ricochet_node.sharing import last_day

    lines = [
        (t("provider"), one.provider),
        (t("verdict"), told(one.verdict.value)),
        (t("sharing"), told(one.words)),
    ]
    if one.terms:
        lines += [(t("clause"), one.terms.clause), (t("note"), one.terms.note)]
        lines += [(t("terms"), one.terms.url)]
        lines.append((t("reviewed"), date.isoformat(one.terms.reviewed_at)))
    if one.attestation:
        held = one.attestation.attestation
        lines += [(t("covers"), held.covers), (t("document"), f"sha256 {held.document.hex()}")]
        lines += [(t("until"), last_day(held.expires)), (t("signed by"), held.operator)]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}} {text}" for name, text in lines if text)
