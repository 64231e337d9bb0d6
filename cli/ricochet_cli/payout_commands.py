"""`ricochet node payout`: where a node's income goes, and how its owner changes that."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t
from ricochet_cli.secret_input import PassphraseFile, unlock_wallet
from ricochet_cli.values import account, moment

if TYPE_CHECKING:
    from ricochet_protocol.ids import Address
    from ricochet_settlement.deployment import Deployment
    from ricochet_settlement.payout import Payout
    from ricochet_settlement.sender import Outbox

    Write = Callable[[Deployment, bytes, Outbox], Coroutine[Any, Any, Payout]]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Where your node's income goes. A change waits for 48 hours; until it is applied, your "
    "wallet and the present payout address can cancel it.",
)
Operator = Annotated[
    str | None, typer.Option(help="Whose income. [default: the account of this home's wallet]")
]


@app.command("show")
def show(home: Home, operator: Operator = None, as_json: AsJson = False) -> None:
    """Show where the income goes, and what is queued to change that; no passphrase needed."""
    import asyncio

    from ricochet_settlement.deployment import load
    from ricochet_settlement.payout import payout

    deployment = load(home)
    _tell(asyncio.run(payout(deployment, _operator(home, operator))), as_json)


@app.command("queue")
def queue(
    home: Home,
    to: Annotated[str, typer.Argument(metavar="ADDRESS", help="Who shall receive the income.")],
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Announce another payout address; it can take over after 48 hours."""
    from ricochet_settlement.payout import queue_payout

    wanted = account(to, "ADDRESS")
    _write(home, passphrase_file, as_json, lambda d, k, o: queue_payout(d, k, wanted, outbox=o))


@app.command("cancel")
def cancel(
    home: Home,
    operator: Operator = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Drop the change that is queued: as the node's owner, or as the present payout address."""
    from ricochet_settlement.payout import cancel_payout

    whose = _operator(home, operator)
    _write(home, passphrase_file, as_json, lambda d, k, o: cancel_payout(d, k, whose, outbox=o))


@app.command("apply")
def apply(
    home: Home,
    operator: Operator = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Let the queued address take over, 48 hours after it was queued; any wallet may."""
    from ricochet_settlement.payout import apply_payout

    whose = _operator(home, operator)
    _write(home, passphrase_file, as_json, lambda d, k, o: apply_payout(d, k, whose, outbox=o))


def _operator(home: Path, named: str | None) -> "Address":
    from ricochet_settlement.wallet import address_of

    return address_of(home / "wallet.json") if named is None else account(named, "--operator")


def _write(home: Path, passphrase_file: Path | None, as_json: bool, write: "Write") -> None:
    import asyncio

    from ricochet_settlement.deployment import load
    from ricochet_settlement.sender import Outbox

    deployment = load(home)
    key = unlock_wallet(home, passphrase_file)
    outbox = Outbox(home, lambda row: say(row.line()))
    _tell(asyncio.run(write(deployment, key, outbox)), as_json)


def _tell(found: "Payout", as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "operator": found.operator,
                "payout": found.current,
                "queued": found.queued,
                "due": found.due if found.queued else None,
                "applicable": found.applicable,
            }
        )
        return
    typer.echo(
        t(
            "operator  {operator}\npayout    {current}",
            operator=found.operator,
            current=found.current,
        )
    )
    if found.queued is not None:
        typer.echo(t("queued    {queued}, from {due}", queued=found.queued, due=moment(found.due)))
        say(
            "next: ricochet node payout apply"
            if found.applicable
            else t(
                "next: ricochet node payout apply, from {due}; or … payout cancel",
                due=moment(found.due),
            )
        )
