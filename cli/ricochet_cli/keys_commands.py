"""`ricochet keys`: provider keys that stay on this machine, encrypted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home
from ricochet_cli.secret_input import PassphraseFile, key, passphrase

if TYPE_CHECKING:
    from ricochet_node.keystore import KeyInfo

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Provider keys: encrypted here, used by your node's vault, never transferred.",
)
Name = Annotated[str, typer.Argument(help="Your own name for the key, such as `local`.")]


@app.command("add")
def add(
    home: Home,
    name: Name,
    url: Annotated[
        str,
        typer.Option(help="The provider's OpenAI-compatible base URL, sealed with the key."),
    ],
    provider: Annotated[str, typer.Option(help="The provider's name.")] = "openai-compatible",
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the key from stdin.")] = False,
    file: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Read the key from this file.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Encrypt a provider key under your passphrase.

    The key is asked for without echo, or read with --stdin or --file; it is never an argument.
    """
    from ricochet_node.keystore import Keystore

    secret = key("key", stdin, file)
    info = Keystore(home / "keys.json").add(
        passphrase(passphrase_file, new=not (home / "keys.json").exists()),
        name,
        provider,
        url,
        secret,
    )
    if as_json:
        print_json(_document(info))
    else:
        say(f"key {info.id} (…{info.last4}) is encrypted for {info.origin}")


@app.command("list")
def list_keys(home: Home, as_json: AsJson = False) -> None:
    """Show names, providers and the last four characters of your keys; no passphrase needed."""
    from ricochet_node.keystore import Keystore

    keys = Keystore(home / "keys.json").list()
    if as_json:
        print_json([_document(key) for key in keys])
    elif keys:
        rows = [(key.id, key.provider, key.origin, f"…{key.last4}") for key in keys]
        typer.echo(table(("name", "provider", "url", "key"), rows))
    else:
        say("no keys yet: ricochet keys add NAME --url URL")


@app.command("remove")
def remove(home: Home, name: Name) -> None:
    """Forget a key. Offers that use it stop at the next start of the node."""
    from ricochet_node.keystore import Keystore

    Keystore(home / "keys.json").remove(name)
    say(f"key {name} is removed")


def _document(key: "KeyInfo") -> dict[str, str]:
    return {"id": key.id, "provider": key.provider, "url": key.origin, "ends": key.last4}
