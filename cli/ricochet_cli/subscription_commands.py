"""`ricochet subscription`: what is paid, who earned it, and how to add, renew or take back."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t
from ricochet_cli.secret_input import PassphraseFile, unlock_wallet
from ricochet_cli.spending_command import spending
from ricochet_cli.values import moment
from ricochet_protocol.errors import UsageError
from ricochet_protocol.money import Units, dollars, parse_dollars

if TYPE_CHECKING:
    from pathlib import Path

    from ricochet_protocol.ports import Subscription
    from ricochet_settlement.deployment import Deployment
    from ricochet_settlement.sender import Outbox
    from ricochet_settlement.standing import Standing

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Your subscription: what is left of it, and who earned the rest.",
)


@app.command("show")
def show(home: Home, as_json: AsJson = False) -> None:
    """Show the running period, what can be refunded, and spending by node, from the chain."""
    import asyncio

    from ricochet_settlement.deployment import load
    from ricochet_settlement.standing import standing
    from ricochet_settlement.wallet import address_of

    found = asyncio.run(standing(load(home), address_of(home / "wallet.json")))
    if as_json:
        print_json(standing_document(found))
    else:
        typer.echo(standing_text(found))


app.command("spending")(spending)


@app.command("top-up")
def top_up(
    home: Home,
    amount: Annotated[str, typer.Argument(help="Dollars to add, such as 5 or 2.50.")],
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Add to the running period's budget."""
    from ricochet_settlement.subscriber import top_up as add

    try:
        units = parse_dollars(amount)
    except ValueError as error:
        raise UsageError("bad_amount", str(error), "give dollars such as 5 or 2.50") from None
    paid: Subscription = _write(home, passphrase_file, lambda d, k, o: add(d, k, units, outbox=o))
    _print_paid(paid, as_json)


@app.command("renew")
def renew(home: Home, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Pay the next period now, from three days before the end, with automatic renewal on."""
    from ricochet_protocol.signing import account_address
    from ricochet_settlement.subscriber import renew as pay

    paid: Subscription = _write(
        home, passphrase_file, lambda d, k, o: pay(d, k, account_address(k), outbox=o)
    )
    _print_paid(paid, as_json)


@app.command("auto-renew")
def auto_renew(home: Home, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Let the next periods be paid from the wallet, at the fee of this one, for about a year."""
    _set_auto_renew(home, passphrase_file, True, as_json)


@app.command("cancel")
def cancel(home: Home, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """End automatic renewal. The running period stays paid, and its rest stays yours."""
    _set_auto_renew(home, passphrase_file, False, as_json)


@app.command("close")
def close(home: Home, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Turn what is left of ended periods into refundable money, a week after their end."""
    from ricochet_settlement.refunds import close_periods

    closed = _write(home, passphrase_file, lambda d, k, o: close_periods(d, k, outbox=o))
    if as_json:
        print_json([{"period": period, "refundable": rest} for period, rest in closed])
    for period, rest in closed:
        say(
            "period {period} is closed: {rest} of it can be refunded",
            period=period,
            rest=dollars(rest),
        )
    if not closed:
        say("no period can be closed now")


@app.command("refund")
def refund(home: Home, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Take refundable money back to the wallet; otherwise it pays for the next period."""
    from ricochet_settlement.refunds import refund as take

    amount: Units = _write(home, passphrase_file, lambda d, k, o: take(d, k, outbox=o))
    if as_json:
        print_json({"refunded": amount})
    else:
        say("{amount} went to the wallet", amount=dollars(amount))


@app.command("rotate-session")
def rotate_session(
    home: Home, passphrase_file: PassphraseFile = None, as_json: AsJson = False
) -> None:
    """Replace the session key that signs for you, as when it may have been copied.

    Nodes stay paid: what the old key signed can be claimed. Cut off anywhere, the same command
    goes on; until the chain names the new key, the old one stays in force.
    """
    from ricochet_settlement.session_key import rotate_session as replace
    from ricochet_settlement.subscriber import set_delegate

    done = _write(
        home,
        passphrase_file,
        lambda d, k, o: replace(home, lambda new: set_delegate(d, k, new, outbox=o)),
    )
    if as_json:
        print_json({"replaced": done.replaced, "delegate": done.delegate, "kept": str(done.kept)})
    else:
        say(
            "{delegate} signs now; the old key is kept in {kept}",
            delegate=done.delegate,
            kept=done.kept,
        )
        say("for a day it can still raise what nodes may claim, never beyond the paid budget")


def _set_auto_renew(
    home: "Path", passphrase_file: "Path | None", wanted: bool, as_json: bool
) -> None:
    from ricochet_settlement.subscriber import set_auto_renew

    _write(home, passphrase_file, lambda d, k, o: set_auto_renew(d, k, wanted, outbox=o))
    if as_json:
        print_json({"auto_renew": wanted})
    else:
        say("automatic renewal is on" if wanted else "automatic renewal is off")


def _write(
    home: "Path",
    passphrase_file: "Path | None",
    write: "Callable[[Deployment, bytes, Outbox], Any]",
) -> Any:
    """Run a write of the wallet, telling on stderr how its transactions fare."""
    import asyncio

    from ricochet_settlement.deployment import load
    from ricochet_settlement.sender import Outbox

    deployment = load(home)
    key = unlock_wallet(home, passphrase_file)
    return asyncio.run(write(deployment, key, Outbox(home, lambda row: say(row.line()))))


def _print_paid(paid: "Subscription", as_json: bool) -> None:
    if as_json:
        print_json({"period": paid.period, "budget": paid.budget, "end": paid.end})
    else:
        say(
            "period {period}: budget {budget} until {end}",
            period=paid.period,
            budget=dollars(paid.budget),
            end=moment(paid.end),
        )


def standing_document(found: "Standing") -> dict[str, object]:
    paid = found.subscription
    return {
        "running": found.running,
        "auto_renew": found.auto_renew,
        "refundable": found.refundable,
        "closable": list(found.closable),
        "period": None
        if paid is None
        else {
            "number": paid.period,
            "delegate": paid.delegate,
            "budget": paid.budget,
            "committed": paid.committed,
            "paid": paid.paid,
            "start": paid.start,
            "end": paid.end,
        },
        "nodes": [
            {
                "period": entry.period,
                "node": entry.node,
                "committed": entry.committed,
                "claimed": entry.claimed,
            }
            for entry in found.nodes
        ],
    }


def standing_text(found: "Standing") -> str:
    paid = found.subscription
    if paid is None:
        return t("no subscription (ricochet subscribe)")
    period, end = paid.period, moment(paid.end)
    lines = [
        t("period      {period}, ends {end}", period=period, end=end)
        if found.running
        else t("period      {period}, ended {end}", period=period, end=end),
        t("budget      {budget}", budget=dollars(paid.budget)),
        t("committed   {committed} to nodes", committed=dollars(paid.committed)),
        t("paid        {paid} to nodes, their commission included", paid=dollars(paid.paid)),
        t("renewal     automatic") if found.auto_renew else t("renewal     by hand"),
        t("refundable  {refundable}", refundable=dollars(found.refundable)),
    ]
    if found.closable:
        lines.append(t("next        ricochet subscription close: an ended period has a rest"))
    if found.nodes:
        rows = [
            (str(entry.period), entry.node, dollars(entry.committed), dollars(entry.claimed))
            for entry in found.nodes
        ]
        lines.append(table(("period", "node", "committed", "claimed"), rows))
    return "\n".join(lines)
