"""What a home still needs before it earns or runs chains: the commands, in the order to give them.

It is read off the files that commands leave behind, so it is right however far somebody came, by
`ricochet init` or by hand, and needs neither the chain nor a passphrase. A payment is known by this
home's own record of what it sent.
"""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ricochet_settlement.deployment import Deployment


class Actor(StrEnum):
    """What a person wants of the network."""

    OWNER = "owner"
    SUBSCRIBER = "subscriber"
    BOTH = "both"


def remaining(home: Path, actor: Actor, network: "Deployment | None") -> tuple[str, ...]:
    """Commands that are still to be given; the last one is what the person came for."""
    steps = []
    if network is None:
        steps.append("ricochet network join FILE")
    if not (home / "wallet.json").exists():
        steps.append("ricochet wallet new")
    sent = _sent(home)
    if network is not None and network.development and not sent:
        steps.append("ricochet dev faucet")
    if actor is not Actor.OWNER and "subscribe" not in sent:
        steps.append("ricochet subscribe --plan 10")
    if actor is not Actor.SUBSCRIBER:
        steps += _owner(home)
    if actor is not Actor.OWNER:
        steps.append("ricochet chain run FILE --chain overview")
    return tuple(steps)


def _sent(home: Path) -> set[str]:
    """What this home's keys did on the chain."""
    from ricochet_settlement.transaction import Status
    from ricochet_settlement.transaction_store import read_transactions

    return {row.intent.label for row in read_transactions(home) if row.status is Status.CONFIRMED}


def _owner(home: Path) -> list[str]:
    steps = []
    if not (home / "keys.json").exists():
        steps.append("ricochet keys add ollama")
    if not (home / "node.yaml").exists():
        steps.append(
            "ricochet node offer MODEL --key ollama --price-in 0.40 --price-out 0.80 --context 4096"
        )
    return [*steps, "ricochet node start"]


def entering(home: Path) -> str:
    """The command after which all others work in this folder."""
    return f"export RICOCHET_HOME={shlex.quote(str(home.absolute()))}"
