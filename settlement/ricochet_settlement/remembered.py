"""Passphrases that the operating system's keyring keeps, for files that a passphrase opens.

It serves every such file, `wallet.json` and `keys.json` alike: `remember` stores the passphrase,
`recall` gives it back, `forget` ends that. That a file's passphrase is kept is a choice written
beside it (`wallet.json.keyring`, which names the keyring's entry and holds no secret): the keyring
is asked only for files whose owner chose so, and commands that need none never load its library.
The entry's name is random, so it survives a move of the folder and is shared by no two homes.

Whoever calls `remember` has checked that the passphrase opens the file. Only keyrings that their
library recommends are used; it knows others that store in clear or store nothing.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ricochet_protocol.errors import ConfigurationError, LocalFault
from ricochet_settlement.private_file import read_private, write_private

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE: Final = "ricochet"
"""The name under which people find the entries in their keyring's own window."""
_COMMANDS: Final = {
    "keys.json": "ricochet keys",
    "forges.json": "ricochet forges",
    "runs.db": "ricochet chain encryption",
}
_ENTRY: Final = re.compile(r"[\w.-]{1,64} [0-9a-f]{32}")


def is_remembered(opens: Path) -> bool:
    """Whether the owner chose to keep the passphrase of the file `opens` in the keyring."""
    return _marker(opens).exists()


def remember(opens: Path, passphrase: str) -> None:
    """Keep the passphrase of the file `opens`, replacing the one kept before.

    ConfigurationError `no_keyring`; LocalFault `keyring_failed`, `file_unwritable`.
    """
    chosen = _backend(opens)
    entry = _entry(opens) if is_remembered(opens) else f"{opens.name} {secrets.token_hex(16)}"
    with _translated(opens):
        chosen.set_password(SERVICE, entry, passphrase)
        kept = chosen.get_password(SERVICE, entry)
    if kept != passphrase:
        raise _failed(opens, "it did not give back what it was given")
    # Last: a choice on record always has its entry.
    write_private(_marker(opens), entry.encode())


def recall(opens: Path) -> str | None:
    """The passphrase of the file `opens`; None when its owner did not choose to keep it.

    ConfigurationError `no_keyring`, `keyring_empty`, `keyring_damaged`; LocalFault
    `keyring_failed`, also when the owner does not unlock it.
    """
    if not is_remembered(opens):
        return None
    entry = _entry(opens)
    chosen = _backend(opens)
    with _translated(opens):
        kept: str | None = chosen.get_password(SERVICE, entry)
    if not kept:
        raise ConfigurationError(
            "keyring_empty",
            f"the keyring no longer holds the passphrase of {opens}",
            f"{_forget_command(opens)}, then `{_command(opens)} remember` to store it again.",
        )
    return kept


def forget(opens: Path) -> bool:
    """End it for the file `opens`; whether the keyring's entry is gone too.

    It ends even where the keyring does not answer, so that a person can be asked again.
    """
    try:
        entry = _entry(opens)
        chosen = _backend(opens)
        with _translated(opens):
            if chosen.get_password(SERVICE, entry) is not None:
                chosen.delete_password(SERVICE, entry)
        gone = True
    except (ConfigurationError, LocalFault):
        gone = False
    _marker(opens).unlink(missing_ok=True)
    return gone


def _marker(opens: Path) -> Path:
    return opens.with_name(f"{opens.name}.keyring")


def _entry(opens: Path) -> str:
    text = read_private(_marker(opens)).decode("utf-8", "replace")
    if not _ENTRY.fullmatch(text):
        raise ConfigurationError(
            "keyring_damaged",
            f"{_marker(opens)} names no entry of a keyring",
            f"{_forget_command(opens)}.",
        )
    return text


def _backend(opens: Path) -> "KeyringBackend":
    import keyring
    from keyring.core import recommended

    with _translated(opens):
        chosen = keyring.get_keyring()
        if recommended(chosen):
            return chosen
    raise ConfigurationError(
        "no_keyring",
        "this system has no keyring that can be used from here (Secret Service, KWallet, "
        "Keychain or Windows Credential Manager)",
        _otherwise(opens),
    )


@contextmanager
def _translated(opens: Path) -> Iterator[None]:
    """Whatever a keyring raises, without its values."""
    try:
        yield
    except Exception as error:  # its backends raise the errors of D-Bus, of Windows, of macOS
        raise _failed(opens, type(error).__name__) from None


def _failed(opens: Path, why: str) -> LocalFault:
    return LocalFault("keyring_failed", f"the keyring failed: {why}", _otherwise(opens))


def _otherwise(opens: Path) -> str:
    another = "Unlock or start a keyring, or give --passphrase-file"
    if is_remembered(opens):
        return f"{another}; {_forget_command(opens).lower()} to be asked again."
    return f"{another}."


def _forget_command(opens: Path) -> str:
    return f"Run `{_command(opens)} forget`"


def _command(opens: Path) -> str:
    return _COMMANDS.get(opens.name, "ricochet wallet")
