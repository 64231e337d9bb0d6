"""`ricochet stats chain`: what the calls of all runs add up to."""

from typing import TYPE_CHECKING, Annotated

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t

if TYPE_CHECKING:
    from ricochet_orchestrator.statistics import Total

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="What calls add up to; also: node stats."
)


@app.callback()
def _group() -> None:
    """Keeps `chain` a command of its own, though it is the only one."""


@app.command("chain")
def chain(
    home: Home,
    by: Annotated[
        str, typer.Option(help="Group by step, role, model, peer, chain or day.")
    ] = "model",
    since: Annotated[
        str, typer.Option(help="From when: 24h, 7d ago, or a UTC date such as 2026-11-01.")
    ] = "30d",
    as_json: AsJson = False,
) -> None:
    """Show calls, retries, tokens, cost and times of all runs.

    Each paid answer counts once; first token and time are medians of calls.
    """
    import time

    import msgspec

    from ricochet_cli.logs_view import chart, moment
    from ricochet_orchestrator.control import all_uses
    from ricochet_orchestrator.statistics import GROUPINGS, total, totals
    from ricochet_protocol.errors import UsageError

    grouping = next((one for one in GROUPINGS if one == by), None)
    if grouping is None:
        raise UsageError(
            "bad_grouping", f"cannot group by {by!r}", f"use one of: {', '.join(GROUPINGS)}"
        )
    begin = moment(since, time.time())
    uses = [use for use in all_uses(home) if use.completed_at >= begin]
    groups = totals(uses, grouping)
    whole = total("all", uses) if uses else None
    if as_json:
        print_json(msgspec.to_builtins({"by": grouping, "groups": groups, "all": whole}))
        return
    if whole is None:
        say("no answer in that time: `ricochet chain run FILE` gets some, and --since looks back")
        return
    typer.echo(_text([*groups, whole], by))
    days = totals(uses, "day")
    if len(days) > 1:
        typer.echo(
            t(
                "\ncost a day, {first} to {last}: {chart}",
                first=days[0].name,
                last=days[-1].name,
                chart=chart([day.cost for day in days]),
            )
        )


def _text(rows: "list[Total]", by: str) -> str:
    from ricochet_cli.logs_view import bar
    from ricochet_orchestrator.progress import printable
    from ricochet_protocol.money import dollars

    most = max((one.cost for one in rows[:-1]), default=0)
    cells = [
        (
            f"…{one.name[-12:]}" if by == "peer" and one is not rows[-1] else printable(one.name),
            f"{one.calls:,}",
            f"{one.retries:,}",
            f"{one.tokens_in:,}",
            f"{one.tokens_out:,}",
            dollars(one.cost),
            f"{one.first_token:.2f}",
            f"{one.seconds:.2f}",
            f"{one.pace:.0f}",
            "" if one is rows[-1] else bar(one.cost, most),
        )
        for one in rows
    ]
    headers = (
        *(by, "calls", "retries", "tokens in", "tokens out", "cost"),
        *("first token s", "call s", "tokens/s", ""),
    )
    return table(headers, cells)
