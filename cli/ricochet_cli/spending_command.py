"""`ricochet subscription spending`: what was paid to whom, held against the chain."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t
from ricochet_protocol.errors import UsageError
from ricochet_protocol.money import Units, dollars

if TYPE_CHECKING:
    from ricochet_orchestrator.spending import Spending

BAR: Final = 20
"""Characters of the longest bar."""


def spending(
    home: Home,
    by: Annotated[str, typer.Option(help="Group by node, model or day (UTC).")] = "node",
    period: Annotated[
        int | None, typer.Option(min=1, help="One period only. [default: all]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what you paid by node, model or day, and whether the chain agrees.

    This home's records say what each answer cost; the chain says what nodes claimed of it and what
    is committed to them. Where the two do not add up, the difference is named.
    """
    import asyncio

    from ricochet_orchestrator.spending import GROUPINGS
    from ricochet_orchestrator.views import find_spending
    from ricochet_protocol.ids import Period

    grouping = next((one for one in GROUPINGS if one == by), None)
    if grouping is None:
        raise UsageError(
            "bad_grouping", f"cannot group by {by!r}", f"use one of: {', '.join(GROUPINGS)}"
        )
    wanted = None if period is None else Period(period)
    found = asyncio.run(find_spending(home, grouping, wanted))
    if as_json:
        import msgspec

        totals = {"paid": found.paid, "accounted": found.accounted}
        print_json({**msgspec.to_builtins(found), **totals})
    elif found.accounts:
        typer.echo(spending_text(found))
    else:
        say("nothing was spent yet: ricochet chain run FILE")


def spending_text(found: "Spending") -> str:
    """Groups with bars, then each account, then whether it adds up."""
    most = max((group.paid for group in found.groups), default=0)
    groups = [
        (group.name, str(group.calls), dollars(group.paid), bar(group.paid, most))
        for group in found.groups
    ]
    accounts = [
        (
            str(one.period),
            one.node,
            dollars(one.vouchered),
            dollars(one.claimed),
            dollars(one.unclaimed),
            dollars(one.committed),
        )
        for one in found.accounts
    ]
    headers = ("period", "node", "signed", "claimed", "unclaimed", "committed")
    parts = [table((found.by, "calls", "paid", ""), groups)] if groups else []
    parts += [table(headers, accounts), _verdict(found)]
    return "\n\n".join(parts)


def _verdict(found: "Spending") -> str:
    if not found.accounted:
        why = t("Another home of this wallet signed it, or this home has lost records.")
        return "\n".join([t("it does not add up:"), *found.differences, why])
    claimed = Units(sum(one.claimed for one in found.accounts))
    unclaimed = Units(sum(one.unclaimed for one in found.accounts))
    ahead = Units(sum(one.ahead for one in found.accounts))
    advance = t(" + {ahead} paid ahead of the next", ahead=dollars(ahead)) if ahead else ""
    return t(
        "it adds up: {paid} paid for answers{advance} = {claimed} claimed on "
        "the chain + {unclaimed} not claimed yet",
        paid=dollars(found.paid),
        advance=advance,
        claimed=dollars(claimed),
        unclaimed=dollars(unclaimed),
    )


def bar(amount: int, most: int) -> str:
    """A bar in proportion; whatever is not nothing can be seen."""
    return "█" * max(round(BAR * amount / most), 1) if amount else ""
