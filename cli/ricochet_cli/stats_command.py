"""`ricochet node stats`: what the requests of a time add up to."""

from typing import Annotated

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t


def stats(
    home: Home,
    by: Annotated[
        str, typer.Option(help="Group by key, model, subscriber, outcome or day.")
    ] = "model",
    since: Annotated[
        str, typer.Option(help="From when: 24h, 7d ago, or a UTC date such as 2026-11-01.")
    ] = "30d",
    until: Annotated[str | None, typer.Option(help="Until when, as --since.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show requests, tokens, income, cost and margin, from the request log.

    Income is before commission; your share is 70 % of it. Cost is what your providers ask, by the
    price table or `prices` of the key in node.yaml; "?" where neither knows the model. What is at
    risk is what they may have charged beyond that for calls that were cut before they told it.
    """
    import time

    import msgspec

    from ricochet_cli.logs_view import chart, moment, stats_text
    from ricochet_node.request_log import Filter, read
    from ricochet_node.request_stats import GROUPINGS, grand_total, totals
    from ricochet_protocol.errors import UsageError

    grouping = next((one for one in GROUPINGS if one == by), None)
    if grouping is None:
        raise UsageError(
            "bad_grouping", f"cannot group by {by!r}", f"use one of: {', '.join(GROUPINGS)}"
        )
    now = time.time()
    wanted = Filter(since=moment(since, now), until=None if until is None else moment(until, now))
    records = list(read(home, wanted))
    groups = msgspec.to_builtins(totals(records, grouping))
    whole = msgspec.to_builtins(grand_total(records))
    if as_json:
        print_json({"by": grouping, "groups": groups, "all": whole})
        return
    if not records:
        say("no request in that time; requests are logged while `ricochet node start` runs")
        return
    typer.echo(stats_text(groups, whole, grouping))
    if whole["unpriced"]:
        say('"?": what some calls cost you is not known; set `prices` of their key in node.yaml')
    days = totals(records, "day")
    if len(days) > 1:
        typer.echo(
            t(
                "\nrequests a day, {first} to {last}: {requests}",
                first=days[0].name,
                last=days[-1].name,
                requests=chart([day.requests for day in days]),
            )
        )
