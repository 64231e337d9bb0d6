"""`ricochet wallet`: the account that pays or earns, encrypted in the home folder."""

from pathlib import Path
from typing import Annotated

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t
from ricochet_cli.secret_input import PassphraseFile, key, passphrase

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
        say("created {home}: keep a copy and the passphrase", home=home / "wallet.json")
        typer.echo(account)


@app.command("import")
def import_wallet(
    home: Home,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the key from stdin.")] = False,
    file: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="A private key, or another wallet's V3 keystore."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Take over an account that exists: its private key, or a V3 keystore file.

    The key is asked for without echo, or read with --stdin or --file; it is never an argument. A
    keystore keeps its passphrase.
    """
    from ricochet_settlement import wallet

    target = home / "wallet.json"
    wallet.refuse_existing(target)
    if file is not None and not stdin and wallet.is_keystore(file):
        account = wallet.import_keystore(target, file, passphrase(passphrase_file))
    else:
        private = wallet.parse_key(key(t("private key"), stdin, file))
        account = wallet.import_key(target, private, passphrase(passphrase_file, new=True))
    if as_json:
        print_json({"address": account})
    else:
        say("created {target}: keep a copy and the passphrase", target=target)
        typer.echo(account)


@app.command("remember")
def remember(home: Home, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Let the system's keyring keep the passphrase, so that no command asks for it again.

    Whoever is logged in as you can then spend from this wallet. A file given with
    --passphrase-file, or RICOCHET_PASSPHRASE_FILE, goes before the keyring.
    """
    from ricochet_settlement.remembered import remember as keep
    from ricochet_settlement.wallet import address_of, unlock

    wallet = home / "wallet.json"
    address_of(wallet)
    phrase = passphrase(passphrase_file)
    unlock(wallet, phrase)
    keep(wallet, phrase)
    if as_json:
        print_json({"remembered": True})
    else:
        say(
            "the keyring keeps the passphrase of {wallet}; undo: ricochet wallet forget",
            wallet=wallet,
        )


@app.command("forget")
def forget(home: Home, as_json: AsJson = False) -> None:
    """Take the passphrase out of the system's keyring; commands ask for it again."""
    from ricochet_protocol.errors import LocalFault
    from ricochet_settlement.remembered import forget as end
    from ricochet_settlement.remembered import is_remembered

    wallet = home / "wallet.json"
    was = is_remembered(wallet)
    if was and not end(wallet):
        raise LocalFault(
            "keyring_kept",
            "commands ask for the passphrase again, but the keyring could not be cleared",
            "delete what it holds for `ricochet` in the keyring's own window",
        )
    if as_json:
        print_json({"remembered": False})
    else:
        say("the passphrase is forgotten" if was else "no passphrase was remembered")


@app.command("transactions")
def transactions(home: Home, as_json: AsJson = False) -> None:
    """Show what this home's keys sent: queued, sent, stuck, confirmed or failed, and why."""
    from ricochet_settlement.transaction_store import read_transactions

    rows = read_transactions(home)
    if as_json:
        print_json(
            [
                {
                    "account": row.account,
                    "what": row.intent.label,
                    "status": row.status.value,
                    "hash": None if row.hash is None else f"0x{row.hash.hex()}",
                    "nonce": row.nonce,
                    "block": row.block,
                    "why": row.why or None,
                    "queued_at": row.queued_at,
                }
                for row in rows
            ]
        )
    elif rows:
        shown = [
            (
                row.intent.label,
                row.status.value,
                "-" if row.block is None else str(row.block),
                "-" if row.hash is None else f"0x{row.hash.hex()}",
                row.why or "-",
            )
            for row in rows
        ]
        typer.echo(table(("what", "status", "block", "transaction", "why"), shown))
    else:
        say("no transactions yet: `ricochet subscribe` or `node start` sends the first")


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
        typer.echo(
            t(
                "{account}  {tokens}  gas {wei:.6f}",
                account=account,
                tokens=dollars(held.tokens),
                wei=held.wei / 10**18,
            )
        )
