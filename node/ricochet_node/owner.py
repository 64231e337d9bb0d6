"""What an owner does about his money, whether his node runs or not.

The running node is asked through `admin`. Otherwise these commands take the node's place for a
moment: they hold the ledger as it does, so never two at once, and send with its gas key, for which
no passphrase is needed. Looking at the funds only reads `node.db`.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ricochet_node import admin
from ricochet_protocol.errors import LocalFault

if TYPE_CHECKING:
    from ricochet_node.claimer import Claimer
    from ricochet_protocol.ids import Address
    from ricochet_settlement.contract import ContractSettlement

WALLET: Final = "wallet.json"
GAS_KEY: Final = "session.key"


async def funds(home: Path) -> dict[str, Any]:
    """Where every unit is that was ever served; the fields of `funds.Funds`.

    ConfigurationError without network or wallet; ChainError; LocalFault about the ledger's file.
    """
    running = await _running(admin.funds, home)
    if running is not None:
        return running
    from ricochet_node.funds import survey
    from ricochet_node.ledger import read_books
    from ricochet_node.ledger_file import FILE_NAME

    async with _settlement(home) as (settlement, operator):
        found = await survey(settlement, lambda: read_books(home / FILE_NAME), operator)
        return found.document()


async def claim(home: Path) -> dict[str, Any]:
    """Claim all vouchers now: `{claimed}`, before commission; BudgetError, or as for `funds`."""
    running = await _running(admin.claim, home)
    if running is not None:
        return running
    async with _claimer(home) as claimer:
        return {"claimed": await claimer.claim()}


async def withdraw(home: Path) -> dict[str, Any]:
    """Withdraw what was claimed: `{withdrawn}`; errors as for `claim`."""
    running = await _running(admin.withdraw, home)
    if running is not None:
        return running
    async with _claimer(home) as claimer:
        return {"withdrawn": await claimer.withdraw()}


async def settle(home: Path) -> dict[str, Any]:
    """Claim and withdraw: `{claimed, withdrawn}`; errors as for `claim`."""
    running = await _running(admin.settle, home)
    if running is not None:
        return running
    async with _claimer(home) as claimer:
        done = await claimer.settle()
        return {"claimed": done.claimed, "withdrawn": done.withdrawn}


async def _running(
    ask: Callable[[Path], Awaitable[dict[str, Any]]], home: Path
) -> dict[str, Any] | None:
    try:
        return await ask(home)
    except LocalFault as fault:
        if fault.code != "node_not_running":
            raise
        return None


@asynccontextmanager
async def _settlement(
    home: Path, *, writes: bool = False
) -> "AsyncIterator[tuple[ContractSettlement, Address]]":
    from ricochet_settlement import deployment, wallet
    from ricochet_settlement.contract import ContractSettlement
    from ricochet_settlement.hot_key import load_or_create
    from ricochet_settlement.sender import IN_MEMORY, Outbox

    network = deployment.load(home)
    operator = wallet.address_of(home / WALLET)
    outbox = Outbox(home) if writes else IN_MEMORY
    settlement = await ContractSettlement.connect(network, load_or_create(home / GAS_KEY), outbox)
    try:
        yield settlement, operator
    finally:
        await settlement.close()


@asynccontextmanager
async def _claimer(home: Path) -> "AsyncIterator[Claimer]":
    from ricochet_node.claimer import Claimer
    from ricochet_node.config import ClaimSettings
    from ricochet_node.ledger import Ledger
    from ricochet_node.ledger_file import FILE_NAME
    from ricochet_node.log import open_log

    async with _settlement(home, writes=True) as (settlement, operator):
        books = Ledger(home / FILE_NAME)
        try:
            with open_log(None) as log:
                # What one asks for now does not depend on the settings.
                yield Claimer(settlement, books, operator, ClaimSettings(), time.time, log)
        finally:
            books.close()
