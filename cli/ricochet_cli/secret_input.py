"""How secrets come in: a file, standard input, the keyring, a hidden prompt; never an argument."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ricochet_cli.language import t
from ricochet_protocol.errors import ConfigurationError, UsageError

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        envvar="RICOCHET_PASSPHRASE_FILE",
        dir_okay=False,
        show_default=False,
        help="Read the passphrase from this file instead of asking.",
    ),
]


def passphrase(
    file: Path | None,
    *,
    new: bool = False,
    opens: Path | None = None,
    what: str = "",
    option: str = "--passphrase-file",
) -> str:
    """The passphrase from `file`, else from a hidden prompt (twice when it is `new`).

    When its owner chose that the keyring keeps the passphrase of the file it `opens`, the keyring
    is asked instead of him. ConfigurationError `no_passphrase` when there is neither a file nor a
    terminal, and as from `recall`.
    """
    if file is not None:
        return read_file(file, t("passphrase"))
    if opens is not None:
        from ricochet_settlement.remembered import recall

        if (kept := recall(opens)) is not None:
            return kept
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "no_passphrase",
            "a passphrase is needed and there is no terminal to ask on",
            f"give {option} FILE"
            + (" or set RICOCHET_PASSPHRASE_FILE" if option == "--passphrase-file" else ""),
        )
    answer: str = typer.prompt(
        what or t("Passphrase"), hide_input=True, confirmation_prompt=new, err=True
    )
    return answer


def unlock_wallet(home: Path, file: Path | None) -> bytes:
    """The private key of the home's wallet; ConfigurationError as from `passphrase`, `unlock`."""
    from ricochet_settlement.wallet import address_of, unlock

    wallet = home / "wallet.json"
    address_of(wallet)  # nobody is asked for the passphrase of a wallet that is not there
    return unlock(wallet, passphrase(file, opens=wallet))


def key(
    what: str,
    stdin: bool,
    file: Path | None,
    options: tuple[str, ...] = ("--stdin", "--file"),
) -> str:
    """A key from `file`, standard input or a hidden prompt; ConfigurationError `no_key`.

    UsageError when both are given.
    """
    if stdin and file is not None:
        raise UsageError("usage", "give --stdin or --file, not both", "see --help")
    if file is not None:
        return read_file(file, what)
    if stdin:
        return read_stdin(what)
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "no_key",
            f"a {what} is needed and there is no terminal to ask on",
            f"give one of: {', '.join(options)}",
        )
    answer: str = typer.prompt(what.capitalize(), hide_input=True, err=True)
    return answer


def read_file(file: Path, what: str) -> str:
    """The first line of `file`; ConfigurationError when it cannot be read or is empty."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            "secret_file", f"cannot read the {what} from {file}", "check the path and its rights"
        ) from error
    return _first(lines, t("{file} holds no {what}", file=file, what=what))


def read_stdin(what: str) -> str:
    """The first line of standard input; ConfigurationError when it is empty."""
    return _first(sys.stdin.read().splitlines(), t("standard input held no {what}", what=what))


def _first(lines: list[str], message: str) -> str:
    if not lines or not lines[0].strip():
        raise ConfigurationError("secret_empty", message, "put it on the first line")
    return lines[0].strip()
