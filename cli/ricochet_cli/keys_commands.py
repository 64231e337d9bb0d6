"""`ricochet keys`: provider keys that stay on this machine, encrypted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ricochet_cli import key_move_commands, key_use_commands
from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t, told
from ricochet_cli.secret_input import PassphraseFile, key, passphrase
from ricochet_protocol.errors import UsageError

if TYPE_CHECKING:
    from ricochet_node.keystore import KeyInfo
    from ricochet_node.providers import Provider

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Provider keys: encrypted here, used by your node's vault, never transferred.",
)
Name = Annotated[str, typer.Argument(help="The key's name, from `ricochet keys list`.")]


@app.command("add")
def add(
    home: Home,
    provider: Annotated[
        str,
        typer.Argument(
            help="openai, anthropic, google, mistral, deepseek, openrouter, ollama, local (a "
            "server on this machine) or openai-compatible (any other, with --url)."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Your own name for the key. [default: the provider's]")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="The API's base URL, sealed with the key. [default: the provider's]"),
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the key from stdin.")] = False,
    file: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Read the key from this file.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Encrypt a provider key under your passphrase.

    The key is asked for without echo, or read with --stdin or --file; it is never an argument.
    ollama and local need no key: without --stdin and --file, none is asked for.
    """
    from ricochet_node.keystore import Keystore

    row = _row(provider)
    if not (url or row.origin):
        raise UsageError(
            "no_url", f"{provider} has no address of its own", "give the API's base URL with --url"
        )
    wanted = row.needs_key or stdin or file is not None
    secret = key(t("key"), stdin, file) if wanted else ""
    info = Keystore(home / "keys.json").add(
        _phrase(home, passphrase_file),
        name or provider,
        provider,
        url or row.origin,
        secret,
    )
    if as_json:
        print_json(_document(info))
    else:
        say(
            "key {id} ({ends}) is encrypted for {origin}",
            id=info.id,
            ends=key_use_commands.ends_of(info.last4),
            origin=info.origin,
        )
        say("next: ricochet keys test {id}", id=info.id)


def _phrase(home: Path, file: Path | None) -> str:
    keys = home / "keys.json"
    return passphrase(file, new=not keys.exists(), opens=keys)


def _row(provider: str) -> "Provider":
    from ricochet_node.providers import PROVIDERS

    row = PROVIDERS.get(provider)
    if row is None:
        raise UsageError(
            "unknown_provider",
            f"there is no provider {provider[:64]!r}; there are {', '.join(PROVIDERS)}",
            "for any other server: ricochet keys add openai-compatible --name NAME --url URL",
        )
    return row


@app.command("list")
def list_keys(home: Home, as_json: AsJson = False) -> None:
    """Show names, providers and the last four characters of your keys; no passphrase needed.

    STATE is how the provider took the latest calls, and whether you disabled it. SHARING says
    whether its calls may be sold: `ricochet policy show` tells more.
    """
    from ricochet_node.key_report import key_states_told
    from ricochet_node.keystore import Keystore
    from ricochet_node.sharing import standings

    store = Keystore(home / "keys.json")
    keys = store.list()
    sharing = standings(home, keys)
    states = key_states_told(home, store.marks())
    if as_json:
        print_json(
            [
                _document(key) | {"state": states[key.id], "sharing": sharing[key.id].words}
                for key in keys
            ]
        )
    elif keys:
        rows = [
            (
                *(key.id, key.provider, key.origin, key_use_commands.ends_of(key.last4)),
                *(told(states[key.id]), told(sharing[key.id].words)),
            )
            for key in keys
        ]
        typer.echo(table(("name", "provider", "url", "key", "state", "sharing"), rows))
    else:
        say("no keys yet: ricochet keys add PROVIDER, for example `ricochet keys add ollama`")


@app.command("remove")
def remove(home: Home, name: Name, as_json: AsJson = False) -> None:
    """Forget a key and its counts. Offers that use it stop at the next start of the node."""
    from contextlib import closing

    from ricochet_node import key_states
    from ricochet_node.counters import FILE_NAME, Counters
    from ricochet_node.keystore import Keystore

    info = Keystore(home / "keys.json").remove(name)
    with closing(Counters(home / FILE_NAME)) as counters, counters.change():
        counters.forget(name)
    key_states.forget(home, name)
    if as_json:
        print_json(_document(info))
    else:
        say("key {name} is removed", name=name)


@app.command("rotate")
def rotate(
    home: Home,
    name: Name,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read the key from stdin.")] = False,
    file: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Read the key from this file.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Replace a key's secret; its name, address, limits and counts stay.

    A running node uses the old secret until it is started again.
    """
    from ricochet_node.keystore import Keystore

    store = Keystore(home / "keys.json")
    store.find(name)
    secret = key(t("key"), stdin, file)
    info = store.rotate(_phrase(home, passphrase_file), name, secret)
    if as_json:
        print_json(_document(info))
    else:
        say(
            "key {name} is now …{last4}; start a running node again to use it",
            name=name,
            last4=info.last4,
        )


key_use_commands.add_to(app)
key_move_commands.add_to(app)


def _document(key: "KeyInfo") -> dict[str, str]:
    return {"id": key.id, "provider": key.provider, "url": key.origin, "ends": key.last4}
