"""`ricochet keys export`, `import`, `passphrase`, `remember`, `forget`: keys as a whole."""

from pathlib import Path
from typing import Annotated

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t, tn
from ricochet_cli.secret_input import PassphraseFile, passphrase
from ricochet_protocol.errors import LocalFault

ExportPhrase = Annotated[
    Path | None,
    typer.Option(
        "--export-passphrase-file",
        dir_okay=False,
        show_default=False,
        help="Read the export's own passphrase from this file instead of asking.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("export")(export)
    app.command("import")(import_keys)
    app.command("passphrase")(change_passphrase)
    app.command("remember")(remember)
    app.command("forget")(forget)


def export(
    home: Home,
    names: Annotated[
        list[str] | None, typer.Argument(help="Which keys. [default: all]", show_default=False)
    ] = None,
    out: Annotated[
        Path, typer.Option(dir_okay=False, help="The file to write; it must not exist.")
    ] = Path("ricochet-keys.json"),
    passphrase_file: PassphraseFile = None,
    export_passphrase_file: ExportPhrase = None,
    as_json: AsJson = False,
) -> None:
    """Write keys into a file for another machine, encrypted under a passphrase of its own.

    Limits and counts stay here: node.yaml is yours to copy.
    """
    from ricochet_node.keystore import Keystore

    phrase = passphrase(passphrase_file, opens=home / "keys.json")
    own = _export_phrase(export_passphrase_file, new=True)
    count = Keystore(home / "keys.json").export(phrase, names or (), out, own)
    if as_json:
        print_json({"file": str(out), "keys": count})
    else:
        say(
            "{out} holds {keys}; on the other machine: ricochet keys import {name}",
            out=out,
            keys=tn("{count} key", "{count} keys", count),
            name=out.name,
        )


def import_keys(
    home: Home,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The export.")],
    passphrase_file: PassphraseFile = None,
    export_passphrase_file: ExportPhrase = None,
    as_json: AsJson = False,
) -> None:
    """Add all keys of an export to this home; if one of its names is taken, none."""
    from ricochet_node.keystore import Keystore

    keys = home / "keys.json"
    own = _export_phrase(export_passphrase_file, new=False)
    phrase = passphrase(passphrase_file, new=not keys.exists(), opens=keys)
    added = Keystore(keys).take_in(phrase, file, own)
    if as_json:
        print_json([{"id": info.id, "provider": info.provider} for info in added])
    else:
        say(
            "added {names}; delete {file} when all is well",
            names=", ".join(info.id for info in added),
            file=file,
        )


def change_passphrase(
    home: Home,
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: Annotated[
        Path | None,
        typer.Option(
            "--new-passphrase-file",
            dir_okay=False,
            show_default=False,
            help="Read the new passphrase from this file instead of asking.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Seal all keys under a new passphrase. The wallet keeps its own.

    A node that still has to register opens both with one passphrase.
    """
    from ricochet_node.keystore import Keystore
    from ricochet_settlement.remembered import is_remembered
    from ricochet_settlement.remembered import remember as keep

    keys = home / "keys.json"
    old = passphrase(passphrase_file, opens=keys)
    new = passphrase(
        new_passphrase_file, new=True, what=t("New passphrase"), option="--new-passphrase-file"
    )
    count = Keystore(keys).change_passphrase(old, new)
    if is_remembered(keys):
        keep(keys, new)
    if as_json:
        print_json({"keys": count})
    else:
        say(
            tn(
                "{count} key is sealed under the new passphrase",
                "{count} keys are sealed under the new passphrase",
                count,
            )
        )


def remember(home: Home, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Let the system's keyring keep the passphrase, so that no command asks for it again.

    Whoever is logged in as you can then use these keys. A file given with --passphrase-file, or
    RICOCHET_PASSPHRASE_FILE, goes before the keyring.
    """
    from ricochet_node.keystore import Keystore
    from ricochet_settlement.remembered import remember as keep

    keys = home / "keys.json"
    phrase = passphrase(passphrase_file)
    Keystore(keys).check(phrase)
    keep(keys, phrase)
    if as_json:
        print_json({"remembered": True})
    else:
        say("the keyring keeps the passphrase of {keys}; undo: ricochet keys forget", keys=keys)


def forget(home: Home, as_json: AsJson = False) -> None:
    """Take the passphrase out of the system's keyring; commands ask for it again."""
    from ricochet_settlement.remembered import forget as end
    from ricochet_settlement.remembered import is_remembered

    keys = home / "keys.json"
    was = is_remembered(keys)
    if was and not end(keys):
        raise LocalFault(
            "keyring_kept",
            "commands ask for the passphrase again, but the keyring could not be cleared",
            "delete what it holds for `ricochet` in the keyring's own window",
        )
    if as_json:
        print_json({"remembered": False})
    else:
        say("the passphrase is forgotten" if was else "no passphrase was remembered")


def _export_phrase(file: Path | None, *, new: bool) -> str:
    return passphrase(
        file, new=new, what=t("Passphrase of the export"), option="--export-passphrase-file"
    )
