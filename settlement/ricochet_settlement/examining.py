"""Looks at what every home needs, whoever's it is: disk, secrets, network, wallet, chain, clock.

No passphrase is asked and nothing is changed or sent. What depends on a check that failed is left
out, so that the first finding to mend comes first.
"""

import shutil
import time
from pathlib import Path
from typing import Final

import msgspec

from ricochet_protocol.errors import RicochetError
from ricochet_protocol.findings import Finding, failure, kept
from ricochet_protocol.ids import Address
from ricochet_settlement import deployment as deployments
from ricochet_settlement import wallet
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.hot_key import NODE_KEY, RUNS_KEY

WALLET: Final = "wallet.json"
LEAST_DISK: Final = 200 * 1024 * 1024
"""Bytes: runs keep documents and answers, a node's ledger up to 256 MB of answers for replay."""
CLOCK_TOLERANCE: Final = 15 * 60
"""Seconds: peers refuse adverts that are further off."""
_SECRETS: Final = (
    WALLET,
    "session.key",
    NODE_KEY,
    RUNS_KEY,
    "keys.json",
    "redaction.key",
    "api_keys.json",
    "forges.json",
)


class Basis(msgspec.Struct, frozen=True):
    """What was found, and what checks of one side go on with; `reached`: the chain answers."""

    findings: tuple[Finding, ...]
    deployment: Deployment | None
    account: Address | None
    reached: bool


async def examine_basis(home: Path) -> Basis:
    """All findings that owners and subscribers share."""
    found = [_disk(home), _secrets(home)]
    deployment = kept(found, "network", lambda: deployments.load(home), _network_text)
    account = kept(found, "wallet", lambda: wallet.address_of(home / WALLET), str)
    reached = False
    if deployment is not None:
        try:
            found += await _chain(deployment)
            reached = True
        except RicochetError as error:
            found.append(failure("chain", error))
    return Basis(tuple(found), deployment, account, reached)


def _network_text(deployment: Deployment) -> str:
    kind = "development network" if deployment.development else "network"
    return f"{kind} on chain {deployment.chain_id}, contract {deployment.contract}"


def _disk(home: Path) -> Finding:
    place = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Finding("disk", "fail", f"{place}: {error.strerror}", "choose another --home")
    text = f"{free // 1024**2:,} MB free"
    if free < LEAST_DISK:
        return Finding("disk", "fail", text, f"free {LEAST_DISK // 1024**2} MB beside {home}")
    return Finding("disk", "ok", text)


def _secrets(home: Path) -> Finding:
    open_files = [
        name for name in _SECRETS if (home / name).exists() and (home / name).stat().st_mode & 0o077
    ]
    if open_files:
        names = " ".join(str(home / name) for name in open_files)
        return Finding("secrets", "fail", f"others may read {names}", f"chmod 600 {names}")
    if home.exists() and home.stat().st_mode & 0o022:
        return Finding("secrets", "fail", f"others may write in {home}", f"chmod 700 {home}")
    return Finding("secrets", "ok", "readable by you only")


async def _chain(deployment: Deployment) -> list[Finding]:
    from ricochet_settlement.contract import ContractSettlement

    # A key that signs nothing: only reading is done here.
    settlement = await ContractSettlement.connect(deployment, b"\x01" * 32)
    try:
        ahead = round(time.time()) - await settlement.chain_time()
    finally:
        await settlement.close()
    return [Finding("chain", "ok", f"{deployment.rpc} answers"), _clock(deployment, ahead)]


def _clock(deployment: Deployment, ahead: int) -> Finding:
    if deployment.development or abs(ahead) <= CLOCK_TOLERANCE:
        return Finding("clock", "ok", f"{abs(ahead)} s from the chain's last block")
    side = "ahead of" if ahead > 0 else "behind"
    return Finding(
        "clock",
        "fail",
        f"this clock is {abs(ahead) // 60} minutes {side} the chain",
        "set this machine's clock (timedatectl set-ntp true), or choose an rpc that is not stuck",
    )
