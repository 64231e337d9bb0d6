"""Who takes part in the demo: each has a home folder with a wallet of its own."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ricochet_protocol.ids import Address
from ricochet_settlement.private_file import write_private
from ricochet_settlement.wallet import create, unlock


@dataclass(frozen=True)
class Person:
    """One participant; the passphrase is random and lies beside the wallet it opens."""

    name: str
    home: Path
    account: Address

    @property
    def passphrase_file(self) -> Path:
        """What this person's commands get as `--passphrase-file`."""
        return self.home / "passphrase"

    @property
    def passphrase(self) -> str:
        """The passphrase itself, for set-up inside the demo's process."""
        return self.passphrase_file.read_text("utf-8")

    def wallet_key(self) -> bytes:
        """The wallet's private key, for what the demo signs in this person's place."""
        return unlock(self.home / "wallet.json", self.passphrase)

    def environment(self) -> dict[str, str]:
        """What makes a command of ours act as this person."""
        return {
            "RICOCHET_HOME": str(self.home),
            "RICOCHET_PASSPHRASE_FILE": str(self.passphrase_file),
        }


def person(name: str, home: Path) -> Person:
    """Make a home with a wallet."""
    home.mkdir(mode=0o700, parents=True)
    phrase = secrets.token_urlsafe(18)
    write_private(home / "passphrase", phrase.encode())
    return Person(name, home, create(home / "wallet.json", phrase))


async def people(folder: Path, names: Sequence[str]) -> list[Person]:
    """Make several homes at once: a wallet's key derivation is slow by intention."""
    return list(
        await asyncio.gather(*(asyncio.to_thread(person, name, folder / name) for name in names))
    )
