"""`ricochet init`: the questions of the first hour, asked once, and the command that comes next.

It only makes what is missing. What is there stays as it is and is not asked for again, so it can be
repeated at any time; a network other than the home's own is refused, not taken over.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.first_steps import Actor, entering, remaining
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t
from ricochet_cli.secret_input import PassphraseFile, key, passphrase
from ricochet_protocol.errors import UsageError

if TYPE_CHECKING:
    from ricochet_protocol.ids import Address
    from ricochet_settlement.deployment import Deployment

_Choice = TypeVar("_Choice", bound=StrEnum)


class WalletChoice(StrEnum):
    """Where the home's account comes from."""

    NEW = "new"
    IMPORT = "import"
    LATER = "later"


def init(
    context: typer.Context,
    home: Home,
    actor: Annotated[
        Actor | None,
        typer.Option("--as", help="What you want: sell capacity, run chains, or both."),
    ] = None,
    network: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="The network.json that a network's operator gave you."),
    ] = None,
    wallet: Annotated[
        WalletChoice | None, typer.Option(help="A new account, one that you have, or none yet.")
    ] = None,
    wallet_file: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="With --wallet import: a private key or a V3 keystore."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set this machine up: answer a few questions, and get the next command.

    Asks what you want (to share a key, to run chains, or both), for your network's network.json,
    and whether to make a wallet. What is there already is kept. Without a terminal, say it all:

    \b
    ricochet init --as subscriber --network network.json \\
        --wallet new --passphrase-file FILE
    """
    asks = not (no_input or as_json) and sys.stdin.isatty()
    if wallet_file is not None and wallet is not WalletChoice.IMPORT:
        raise UsageError("usage", "--wallet-file goes with --wallet import", "Give both.")
    if actor is None and not asks:
        raise UsageError(
            "no_terminal",
            "there is nobody to ask what you want",
            "Say it: ricochet init --as subscriber, --as owner or --as both",
        )
    chosen = actor or _ask(t("Sell capacity (owner), run chains (subscriber), or both?"), Actor, 1)
    joined, was_joined = _network(home, network, asks)
    account, had_wallet = _wallet(home, wallet, wallet_file, passphrase_file, asks)
    steps = remaining(home, chosen, joined)
    from typer._click.core import ParameterSource

    if context.get_parameter_source("home") is ParameterSource.COMMANDLINE:
        steps = (entering(home), *steps)
    _tell(home, chosen, (joined, was_joined), (account, had_wallet), steps, as_json)


def _network(home: Path, file: Path | None, asks: bool) -> "tuple[Deployment | None, bool]":
    """The home's network, and whether it was there before."""
    from ricochet_settlement import deployment

    mine = deployment.load(home) if (home / deployment.FILE_NAME).exists() else None
    if file is None and mine is None and asks:
        answer: str = typer.prompt(
            t("Path of your network's network.json (Enter: later)"),
            default="",
            show_default=False,
            err=True,
        )
        file = Path(answer.strip()).expanduser() if answer.strip() else None
    if file is None:
        return mine, mine is not None
    wanted = deployment.load_file(file)
    if mine is not None and mine != wanted:
        raise UsageError(
            "other_network",
            f"{home} belongs to {mine.domain.network} already",
            f"To leave that one: ricochet network join {file}; or choose another --home.",
        )
    if mine is None:
        deployment.save(home, wanted)
    return wanted, mine is not None


def _wallet(
    home: Path,
    choice: WalletChoice | None,
    file: Path | None,
    passphrase_file: Path | None,
    asks: bool,
) -> "tuple[Address | None, bool]":
    """The home's account, and whether it was there before."""
    from ricochet_settlement import wallet

    target = home / "wallet.json"
    if target.exists():
        return wallet.address_of(target), True
    if choice is None and asks:
        choice = _ask(t("Make a new wallet, import one, or later?"), WalletChoice, 0)
    if choice is WalletChoice.NEW:
        return wallet.create(target, passphrase(passphrase_file, new=True)), False
    if choice is not WalletChoice.IMPORT:
        return None, False
    if file is not None and wallet.is_keystore(file):
        return wallet.import_keystore(target, file, passphrase(passphrase_file)), False
    secret = key(t("private key"), False, file, options=("--wallet-file",))
    private = wallet.parse_key(secret)
    return wallet.import_key(target, private, passphrase(passphrase_file, new=True)), False


def _ask(question: str, among: type[_Choice], default: int) -> _Choice:
    names = [one.value for one in among]
    while True:
        answer: str = typer.prompt(
            f"{question} ({'/'.join(names)})", default=names[default], err=True
        )
        found = [one for one in among if one.value == answer.strip().lower()]
        if found:
            return found[0]
        say("one of {names}", names=", ".join(names))


def _tell(
    home: Path,
    actor: Actor,
    network: "tuple[Deployment | None, bool]",
    account: "tuple[Address | None, bool]",
    steps: tuple[str, ...],
    as_json: bool,
) -> None:
    joined, was_joined = network
    address, had_wallet = account
    name = None if joined is None else joined.domain.network
    if as_json:
        document: dict[str, Any] = {
            "home": str(home),
            "as": actor.value,
            "network": None if name is None else {"id": name, "kept": was_joined},
            "wallet": None if address is None else {"address": address, "kept": had_wallet},
            "next": list(steps),
        }
        print_json(document)
        return
    rows = [
        ("home", str(home), ""),
        ("network", name or t("none yet"), _state(name is not None, was_joined)),
        ("wallet", address or t("none yet"), _state(address is not None, had_wallet)),
    ]
    typer.echo(table(("what", "which", ""), rows))
    if address is not None and not had_wallet:
        say(
            "keep a copy of {home} and its passphrase: nobody can recover them",
            home=home / "wallet.json",
        )
    say("next: {step}", step=steps[0])
    for step in steps[1:]:
        say("then: {step}", step=step)


def _state(there: bool, before: bool) -> str:
    return "" if not there else t("as it was") if before else t("new")
