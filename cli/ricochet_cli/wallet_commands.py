"""`ricochet wallet`: the account that pays or earns, encrypted in the home folder."""

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
from ricochet_cli.secret_input import PassphraseFile, passphrase

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Your account on the chain: it pays subscriptions, or receives your node's income.",
)


@app.command("new")
def new(home: Home, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Create a wallet, encrypted with a passphrase that cannot be recovered."""
    from ricochet_settlement.wallet import create

    account = create(home / "wallet.json", passphrase(passphrase_file, new=True))
    if as_json:
        print_json({"address": account})
    else:
        say(f"created {home / 'wallet.json'}: keep a copy and the passphrase")
        typer.echo(account)


@app.command("show")
def show(home: Home, as_json: AsJson = False) -> None:
    """Show the account and, when the chain answers, what it holds."""
    import asyncio

    from ricochet_protocol.money import dollars
    from ricochet_settlement.deployment import load
    from ricochet_settlement.wallet import address_of

    account = address_of(home / "wallet.json")
    if not (home / "network.json").exists():
        if as_json:
            print_json({"address": account, "tokens": None})
        else:
            typer.echo(account)
            say("balance unknown: this home has joined no network (ricochet network join FILE)")
        return
    from ricochet_settlement.holdings import holdings

    held = asyncio.run(holdings(load(home), account))
    if as_json:
        print_json({"address": account, "tokens": held.tokens, "gas_wei": held.wei})
    else:
        typer.echo(f"{account}  {dollars(held.tokens)}  gas {held.wei / 10**18:.6f}")
