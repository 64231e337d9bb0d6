"""`ricochet network`: which network this home belongs to, and what it looks like from here."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t, told
from ricochet_protocol.money import Units, dollars

if TYPE_CHECKING:
    from ricochet_orchestrator.network_reports import NetworkReport, SeenPeer

EVERY: Final = 2.0
"""Seconds between two looks of `--watch`."""

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The network this home belongs to."
)


@app.command("join")
def join(
    home: Home,
    file: Annotated[Path, typer.Argument(help="A network.json that its operator gave you.")],
) -> None:
    """Take over a network's addresses: chain, contract, token and first peers."""
    from ricochet_settlement.deployment import load_file, save

    deployment = load_file(file)
    save(home, deployment)
    say("joined {network} through {rpc}", network=deployment.domain.network, rpc=deployment.rpc)


@app.command("id")
def own_ids(home: Home, as_json: AsJson = False) -> None:
    """Show the peer ids of this home: of its node and of its runs.

    Who founds a private network lists them under `members` in network.json, for all who may join.
    Keys that are not there yet are made.
    """
    from ricochet_protocol.signing import peer_of
    from ricochet_settlement.hot_key import NODE_KEY, RUNS_KEY, load_or_create

    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    ids = {
        name: peer_of(load_or_create(home / file))
        for name, file in (("node", NODE_KEY), ("runs", RUNS_KEY))
    }
    if as_json:
        print_json(ids)
        return
    typer.echo(table(("of", "peer id"), [(told(name), peer) for name, peer in ids.items()]))


@app.command("status")
def status(
    home: Home,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show who is on the network: models, prices, capacity, latency, reachability and traffic.

    It is the view of this machine, which joins the network to look. With --watch and --json, each
    look is one line.
    """
    import asyncio

    from ricochet_orchestrator.views import watch_network

    def show(report: "NetworkReport") -> None:
        if not as_json:
            typer.echo(report_text(report) + ("\n" if watch else ""))
        elif watch:
            typer.echo(json.dumps(_document(report)))
        else:
            print_json(_document(report))

    asyncio.run(watch_network(home, EVERY, show, once=not watch))


def report_text(report: "NetworkReport") -> str:
    lines = [
        t(
            "Peers:    {known} known, {connected} connected",
            known=report.known,
            connected=report.connected,
        ),
        t(
            "Traffic:  {sent:,} bytes sent, {received:,} received",
            sent=report.sent,
            received=report.received,
        ),
    ]
    rows = [row for one in report.peers for row in _rows(one)]
    if rows:
        head = ("peer", "reached", "ping", "model", "$/M in", "$/M out", "free")
        lines += ["", table(head, rows)]
    else:
        lines += [
            "",
            t(
                "Nobody is reached: see `bootstrap` in network.json, or offer a model "
                "yourself (ricochet node start)."
            ),
        ]
    return "\n".join(lines)


def _rows(one: "SeenPeer") -> list[tuple[str, ...]]:
    from ricochet_cli.progress_view import short

    reached = t("over a relay") if one.relayed else t("no") if one.link is None else t("yes")
    ping = "-" if one.latency is None else t("{ms:.1f} ms", ms=1000 * one.latency)
    first = (short(one.peer), reached, ping)
    offers: list[tuple[str, ...]] = [
        (
            offer.id,
            dollars(Units(offer.price_in)),
            dollars(Units(offer.price_out)),
            t("{free} of {slots}", free=offer.free, slots=offer.slots),
        )
        for offer in one.offers
    ]
    return [(*first, *offer) for offer in offers or [("-", "-", "-", "-")]]


def _document(report: "NetworkReport") -> dict[str, Any]:
    import msgspec

    return {
        **msgspec.to_builtins(report),
        "traffic": {"sent": report.sent, "received": report.received},
    }
