"""`ricochet peers`: who is on the network, and what this home's runs have learnt of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t, told
from ricochet_protocol.errors import UsageError
from ricochet_protocol.money import Units, dollars

if TYPE_CHECKING:
    from ricochet_orchestrator.opinion import Opinion
    from ricochet_orchestrator.peer_reports import PeerRow

Offline = Annotated[
    bool, typer.Option("--offline", help="Only what earlier runs have learnt; connect to nobody.")
]
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Peers on the network, and this home's own opinion of them.",
)


@app.command("list")
def list_all(home: Home, offline: Offline = False, as_json: AsJson = False) -> None:
    """Show peers, what they offer, and how their calls went.

    Opinions are local: they come from this home's own calls and are never sent to anybody.
    """
    rows = _rows(home, offline)
    if as_json:
        barred = _barred(home)
        print_json([{**_document(row), "banned": row.peer in barred} for row in rows])
        return
    if not rows:
        say("No peers are known here yet: `ricochet chain run FILE` gets to know them.")
        return
    typer.echo(
        table(
            ("peer", "now", "region", "models", "calls", "failed", "first token", "probes failed"),
            [_line(row) for row in rows],
        )
    )


@app.command("show")
def show(
    home: Home,
    peer: Annotated[str, typer.Argument(help="A peer's id, or how it begins or ends.")],
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Show one peer: its offers, and what was learnt of each model."""
    rows = _rows(home, offline)
    found = [row for row in rows if row.peer.startswith(peer) or row.peer.endswith(peer)]
    if len(found) != 1:
        raise UsageError(
            "peer_unknown" if not found else "peer_ambiguous",
            f"{len(found)} peers are known by {peer!r}.",
            "`ricochet peers list --json` shows whole ids.",
        )
    if as_json:
        print_json({**_document(found[0]), "banned": found[0].peer in _barred(home)})
    else:
        banned = t("Banned:    yes, by hand") + "\n" if found[0].peer in _barred(home) else ""
        typer.echo(banned + _text(found[0]))


def _barred(home: Path) -> tuple[str, ...]:
    from ricochet_settlement.peer_files import bans

    return bans(home)


PeerArgument = Annotated[str, typer.Argument(help="A peer's whole id.")]


@app.command("ping")
def ping(
    home: Home,
    peer: Annotated[str, typer.Argument(help="A peer's id, or how it begins or ends.")],
    count: Annotated[int, typer.Option("--count", min=1, max=100, help="How many pings.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Measure how long a peer takes to answer over an open connection."""
    import asyncio

    from ricochet_orchestrator.views import ping_peer

    found, seconds = asyncio.run(ping_peer(home, peer, count))
    if as_json:
        print_json({"peer": found, "seconds": seconds})
        return
    for one in seconds:
        typer.echo(f"{found}  " + t("{ms:.1f} ms", ms=1000 * one))


@app.command("ban")
def ban(home: Home, peer: PeerArgument, as_json: AsJson = False) -> None:
    """Have nothing to do with a peer any more, until `unban`; running processes follow at once."""
    _change_ban(home, peer, True, as_json)


@app.command("unban")
def unban(home: Home, peer: PeerArgument, as_json: AsJson = False) -> None:
    """Lift the ban of a peer."""
    _change_ban(home, peer, False, as_json)


def _change_ban(home: Path, peer: str, banned: bool, as_json: bool) -> None:
    from ricochet_protocol.ids import PeerId, peer_public_key
    from ricochet_settlement.peer_files import change_bans

    try:
        peer_public_key(PeerId(peer))
    except ValueError:
        raise UsageError(
            "bad_peer", f"{peer!r} is no peer id.", "`ricochet peers list --json` shows whole ids."
        ) from None
    changed = change_bans(home, PeerId(peer), banned=banned)
    if as_json:
        print_json({"peer": peer, "banned": banned, "changed": changed})
    elif changed:
        say("{peer} is banned" if banned else "{peer} is let in again", peer=peer)
    else:
        say("{peer} was banned already" if banned else "{peer} was not banned", peer=peer)


def _rows(home: Home, offline: bool) -> "tuple[PeerRow, ...]":
    import asyncio

    from ricochet_orchestrator.views import list_peers

    return asyncio.run(list_peers(home, offline))


def _now(row: "PeerRow") -> str:
    if not row.seen:
        return t("not seen")
    return t("here") if row.registered else t("unregistered")


def _line(row: "PeerRow") -> tuple[str, ...]:
    from ricochet_cli.progress_view import short

    known = list(row.opinions.values())
    quickest = [one.first_token.value for one in known if one.first_token.weight]
    models = sorted({*(offer.id for offer in row.offers), *row.opinions})
    probes = sum(one.probes for one in known)
    return (
        short(row.peer),
        _now(row),
        row.region or "-",
        ", ".join(models) or "-",
        str(sum(one.calls for one in known)),
        str(sum(one.failures for one in known)),
        f"{min(quickest):.2f} s" if quickest else "-",
        t("{caught} of {probes}", caught=sum(one.caught for one in known), probes=probes)
        if probes
        else "-",
    )


def _text(row: "PeerRow") -> str:
    lines = [
        t("Peer:      {peer}", peer=row.peer),
        t("Operator:  {operator}", operator=row.operator or t("not seen now")),
        t("Now:       {now}", now=_now(row)),
        t("Region:    {region} (its own word)", region=row.region or "-"),
        t("Breaker:   {state}", state=told(row.breaker.state.value)),
    ]
    offers = [
        (
            offer.id,
            dollars(Units(offer.price_in)),
            dollars(Units(offer.price_out)),
            f"{offer.context:,}",
            str(offer.slots),
        )
        for offer in row.offers
    ]
    if offers:
        lines += ["", table(("model", "$/M in", "$/M out", "window", "slots"), offers)]
    learnt = [(model, *_cells(one)) for model, one in row.opinions.items()]
    if learnt:
        head = ("learnt of", "calls", "failed", "success", "first token", "tok/s", "probes failed")
        lines += ["", table(head, learnt)]
    return "\n".join(lines)


def _cells(one: "Opinion") -> tuple[str, ...]:
    return (
        str(one.calls),
        str(one.failures),
        f"{one.success.value:.2f}" if one.success.weight else "-",
        f"{one.first_token.value:.2f} s" if one.first_token.weight else "-",
        f"{one.pace.value:.0f}" if one.pace.weight else "-",
        t("{caught} of {probes}", caught=one.caught, probes=one.probes) if one.probes else "-",
    )


def _document(row: "PeerRow") -> dict[str, object]:
    return {
        "peer": row.peer,
        "operator": row.operator,
        "seen": row.seen,
        "registered": row.registered,
        "region": row.region,
        "breaker": row.breaker.state.value,
        "offers": [
            {
                "model": offer.id,
                "price_in": offer.price_in,
                "price_out": offer.price_out,
                "context": offer.context,
                "slots": offer.slots,
                "free": offer.free,
            }
            for offer in row.offers
        ],
        "learnt": [
            {
                "model": model,
                "calls": one.calls,
                "failures": one.failures,
                "success": one.success.value if one.success.weight else None,
                "first_token_seconds": one.first_token.value if one.first_token.weight else None,
                "tokens_per_second": one.pace.value if one.pace.weight else None,
                "honest": one.honest.value if one.honest.weight else None,
                "probes": one.probes,
                "probes_failed": one.caught,
                "at": one.at,
            }
            for model, one in row.opinions.items()
        ],
    }
