"""`ricochet forges`: tokens of GitHub and GitLab, sealed as provider keys are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t
from ricochet_cli.secret_input import PassphraseFile, key, passphrase
from ricochet_protocol.errors import ConfigurationError, LocalFault

if TYPE_CHECKING:
    from ricochet_node.keystore import KeyInfo

FILE: Final = "forges.json"
Forge = Annotated[Literal["github", "gitlab"], typer.Argument(help="github or gitlab.")]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Tokens with which `ricochet tasks push` and `pull` reach GitHub and GitLab: encrypted "
    "here under a passphrase, each sent to one address only.",
)


@app.command("add")
def add(
    home: Home,
    forge: Forge,
    url: Annotated[
        str | None,
        typer.Option(
            help="The API of an own server, such as https://git.example.org/api/v3 (GitHub "
            "Enterprise) or https://git.example.org (GitLab). [default: the public service]"
        ),
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the token from stdin.")] = False,
    file: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Read the token from this file.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Encrypt a token, in place of the one there was.

    It needs to read and write issues and, for `tasks propose`, contents and pull requests
    (GitLab: the scope api). It is asked for without echo; it is never an argument.
    """
    from ricochet_node.keystore import Keystore
    from ricochet_orchestrator.forges.port import ADDRESSES

    store = Keystore(home / FILE)
    secret = key(t("token"), stdin, file)
    phrase = _phrase(home, passphrase_file, new=not (home / FILE).exists())
    address = url or ADDRESSES[forge]
    old = next((one for one in store.list() if one.id == forge), None)
    if old is not None:
        store.check(phrase)
        store.remove(forge)
    info = store.add(phrase, forge, forge, address, secret)
    if as_json:
        print_json(_document(info))
    else:
        say("the token (…{last4}) is encrypted for {url}", last4=info.last4, url=info.origin)
        say("next: ricochet tasks push --to {forge} --repo OWNER/NAME", forge=forge)


@app.command("list")
def list_all(home: Home, as_json: AsJson = False) -> None:
    """Show addresses and the last four characters of tokens; no passphrase needed."""
    from ricochet_node.keystore import Keystore

    found = Keystore(home / FILE).list()
    if as_json:
        print_json([_document(one) for one in found])
    elif found:
        rows = [(one.id, one.origin, f"…{one.last4}") for one in found]
        typer.echo(table(("forge", "address", "token"), rows))
    else:
        say("no tokens yet: `ricochet forges add github` or `ricochet forges add gitlab`")


@app.command("remove")
def remove(home: Home, forge: Forge, as_json: AsJson = False) -> None:
    """Forget a token here; end it at the forge itself too."""
    from ricochet_node.keystore import Keystore

    known(home, forge)
    info = Keystore(home / FILE).remove(forge)
    if as_json:
        print_json(_document(info))
    else:
        say("the token of {forge} is forgotten here; revoke it in its settings too", forge=forge)


@app.command("remember")
def remember(home: Home, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Let the system's keyring keep the passphrase, so that no command asks for it again."""
    from ricochet_node.keystore import Keystore
    from ricochet_settlement.remembered import remember as keep

    phrase = passphrase(passphrase_file)
    Keystore(home / FILE).check(phrase)
    keep(home / FILE, phrase)
    if as_json:
        print_json({"remembered": True})
    else:
        say(
            "the keyring keeps the passphrase of {file}; undo: ricochet forges forget",
            file=home / FILE,
        )


@app.command("forget")
def forget(home: Home, as_json: AsJson = False) -> None:
    """Take the passphrase out of the system's keyring; commands ask for it again."""
    from ricochet_settlement.remembered import forget as end
    from ricochet_settlement.remembered import is_remembered

    if (was := is_remembered(home / FILE)) and not end(home / FILE):
        raise LocalFault(
            "keyring_kept",
            "commands ask for the passphrase again, but the keyring could not be cleared",
            "delete what it holds for `ricochet` in the keyring's own window",
        )
    if as_json:
        print_json({"remembered": False})
    else:
        say("the passphrase is forgotten" if was else "no passphrase was remembered")


def known(home: Path, forge: str) -> "KeyInfo":
    """What is known of a forge's token; ConfigurationError `no_token` without one."""
    from ricochet_node.keystore import Keystore

    for one in Keystore(home / FILE).list():
        if one.id == forge:
            return one
    raise ConfigurationError(
        "no_token", f"there is no token for {forge}", f"Add one: ricochet forges add {forge}"
    )


def token(home: Path, forge: str, passphrase_file: Path | None) -> str:
    """The token itself, asking for the passphrase where nothing keeps it."""
    from ricochet_node.keystore import Keystore

    known(home, forge)
    return Keystore(home / FILE).unlock(_phrase(home, passphrase_file, new=False), forge)


def _phrase(home: Path, file: Path | None, *, new: bool) -> str:
    return passphrase(file, new=new, opens=home / FILE)


def _document(info: "KeyInfo") -> dict[str, str]:
    return {"forge": info.id, "address": info.origin, "ends": info.last4}
