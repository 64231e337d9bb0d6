"""`ricochet chain encryption`: whether what runs keep on this machine is encrypted."""

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t
from ricochet_cli.secret_input import PassphraseFile, passphrase

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Encrypt documents, answers and parameters that runs keep here.",
)
_NAME = "runs.db"


@app.command("status")
def status(home: Home, as_json: AsJson = False) -> None:
    """Tell whether it is on, and whether the keyring knows the passphrase."""
    from ricochet_orchestrator.encryption import is_encrypted
    from ricochet_settlement.remembered import is_remembered

    on, known = is_encrypted(home / _NAME), is_remembered(home / _NAME)
    if as_json:
        print_json({"encrypted": on, "remembered": known})
    else:
        typer.echo(
            t(
                "encrypted: {encrypted}; in the keyring: {kept}",
                encrypted=t("yes") if on else t("no"),
                kept=t("yes") if known else t("no"),
            )
        )


@app.command("on")
def on(home: Home, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Encrypt all of it under a passphrase, or give it another one.

    Commands that read runs then take the passphrase from the file that
    RICOCHET_RUNS_PASSPHRASE_FILE names, or from the keyring (`remember`). Whoever loses it loses
    the texts; accounts and payments are not affected.
    """
    from ricochet_orchestrator.encryption import encrypt

    phrase = passphrase(passphrase_file, new=True, what=t("New passphrase for what runs keep"))
    encrypt(home / _NAME, phrase)
    _told(as_json, True)
    if not as_json:
        say("let the keyring keep the passphrase: ricochet chain encryption remember")


@app.command("off")
def off(home: Home, as_json: AsJson = False) -> None:
    """Keep texts in the clear again."""
    from ricochet_orchestrator.encryption import decrypt

    decrypt(home / _NAME)
    _told(as_json, False)


@app.command("remember")
def remember(home: Home, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Let the system's keyring keep the passphrase, after checking it."""
    from ricochet_orchestrator.encryption import check_passphrase
    from ricochet_settlement.remembered import remember as keep

    phrase = passphrase(passphrase_file)
    check_passphrase(home / _NAME, phrase)
    keep(home / _NAME, phrase)
    if as_json:
        print_json({"remembered": True})
    else:
        say("the keyring keeps it; undo: ricochet chain encryption forget")


@app.command("forget")
def forget(home: Home, as_json: AsJson = False) -> None:
    """Take the passphrase out of the keyring."""
    from ricochet_settlement.remembered import forget as end

    gone = end(home / _NAME)
    if as_json:
        print_json({"remembered": False, "cleared": gone})
    else:
        say("the passphrase is forgotten" if gone else "it is asked of the keyring no more")


def _told(as_json: bool, encrypted: bool) -> None:
    if as_json:
        print_json({"encrypted": encrypted})
    else:
        typer.echo(
            t("what runs keep here is encrypted")
            if encrypted
            else t("what runs keep here is in the clear")
        )
