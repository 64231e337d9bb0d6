"""`ricochet subscribe`: pay a period on the chain and appoint this home's session key."""

from enum import StrEnum
from typing import Annotated

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
from ricochet_cli.secret_input import PassphraseFile, unlock_wallet


class Plan(StrEnum):
    """Presets of the fee a period, in dollars; the contract takes $5 to $10."""

    BASIC = "5"
    PRO = "10"


def subscribe(
    home: Home,
    plan: Annotated[Plan, typer.Option(help="Dollars for 30 days.")] = Plan.PRO,
    auto_renew: Annotated[
        bool, typer.Option("--auto-renew", help="Pay the next periods too, for about a year.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Subscribe for 30 days. What you do not use stays yours.

    The fee goes to the contract, not to the platform. Your wallet signs once; from then on a
    session key in this home signs reservations and vouchers within that budget, unasked.
    """
    import asyncio

    from ricochet_protocol.money import dollars, parse_dollars
    from ricochet_protocol.signing import account_address
    from ricochet_settlement.deployment import load
    from ricochet_settlement.hot_key import load_or_create
    from ricochet_settlement.sender import Outbox
    from ricochet_settlement.subscriber import subscribe as pay

    deployment = load(home)
    key = unlock_wallet(home, passphrase_file)
    delegate = account_address(load_or_create(home / "session.key"))
    outbox = Outbox(home, lambda row: say(row.line()))
    fee = parse_dollars(plan.value)
    paid = asyncio.run(pay(deployment, key, fee, delegate, auto_renew=auto_renew, outbox=outbox))
    if as_json:
        print_json(
            {
                "subscriber": paid.subscriber,
                "delegate": paid.delegate,
                "period": paid.period,
                "budget": paid.budget,
                "start": paid.start,
                "end": paid.end,
            }
        )
    else:
        say(
            "period {period} is paid: budget {budget} for 30 days",
            period=paid.period,
            budget=dollars(paid.budget),
        )
        say("next: ricochet chain run FILE --chain overview")
