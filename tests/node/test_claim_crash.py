"""The node killed at every boundary of a settlement: nothing is paid twice, nothing is lost.

A boundary is the moment before and after each call of the chain and each transaction of the ledger.
The kill leaves what SQLite has committed and what the chain has mined; all else is gone.
"""

import asyncio
import inspect
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from node_bench import NODE_SEED, OPERATOR

from ricochet_node.claimer import Claimer
from ricochet_node.config import ClaimSettings
from ricochet_node.funds import Funds, survey
from ricochet_node.ledger import Ledger
from ricochet_node.log import EventLog
from ricochet_protocol.eip712 import Voucher, sign_voucher
from ricochet_protocol.ids import Period
from ricochet_protocol.money import Units
from ricochet_protocol.signing import account_address, peer_of
from twins.settlement import MemorySettlement

SETTINGS = ClaimSettings(minimum=Units(1), ether_price=Units(0))
KEYS = tuple(bytes([0x71 + number]) * 32 for number in range(4))
VOUCHERS = (1_000, 333, 5_000_777, 50)
"""The third is above its subscriber's budget; the fourth is signed by a stranger."""


class Killed(BaseException):
    """The end of the process."""


class Boundaries:
    """Kills at the boundary of this number, counted from 1; 0 never."""

    def __init__(self, last: int) -> None:
        self._last = last
        self.crossed = 0

    def cross(self) -> None:
        self.crossed += 1
        if self.crossed == self._last:
            raise Killed


class Brittle:
    """An object whose calls are boundaries."""

    def __init__(self, inner: Any, boundaries: Boundaries, calls: tuple[str, ...]) -> None:
        self._inner, self._boundaries, self._calls = inner, boundaries, calls

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name not in self._calls:
            return value
        return (
            self._brittle_async(value)
            if inspect.iscoroutinefunction(value)
            else (self._brittle(value))
        )

    def _brittle(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **kwargs: Any) -> Any:
            self._boundaries.cross()
            result = call(*args, **kwargs)
            self._boundaries.cross()
            return result

        return made

    def _brittle_async(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def made(*args: Any, **kwargs: Any) -> Any:
            self._boundaries.cross()
            result = await call(*args, **kwargs)
            self._boundaries.cross()
            return result

        return made


def world(path: Path) -> MemorySettlement:
    """A chain with four subscribers, and a ledger with a voucher of each."""
    chain = MemorySettlement()
    chain.register_node(OPERATOR, peer_of(NODE_SEED), (), OPERATOR)
    ledger = Ledger(path)
    for number, (key, amount) in enumerate(zip(KEYS, VOUCHERS, strict=True)):
        account = account_address(key)
        chain.subscribe(account, 5_000_000, account)
        value = Voucher(account, OPERATOR, Period(1), Units(amount))
        signer = b"\x66" * 32 if number == 3 else key
        ledger.accept(sign_voucher(signer, chain.domain, value))
    ledger.close()
    return chain


async def until_killed(chain: MemorySettlement, path: Path, boundaries: Boundaries) -> None:
    ledger = Ledger(path)
    calls = ("period", "commitment", "claim", "withdrawable", "withdraw")
    notes = ("note_chain", "note_claimed", "note_void")
    claimer = Claimer(
        Brittle(chain, boundaries, calls),
        Brittle(ledger, boundaries, notes),  # type: ignore[arg-type] # passes everything on
        OPERATOR,
        SETTINGS,
        lambda: chain.now,
        EventLog(io.StringIO()),
    )
    try:
        await claimer.round()
    finally:
        ledger.close()


async def after_restart(chain: MemorySettlement, path: Path) -> Funds:
    ledger = Ledger(path)
    log = EventLog(io.StringIO())
    try:
        at_once = await survey(chain, ledger.books, OPERATOR)
        assert at_once.accounted and at_once.elsewhere == 0
        claimer = Claimer(chain, ledger, OPERATOR, SETTINGS, lambda: chain.now, log)
        await claimer.settle()
        before = chain.transactions
        await claimer.settle()
        assert chain.transactions == before
        return await survey(chain, ledger.books, OPERATOR)
    finally:
        ledger.close()


def test_a_kill_at_any_boundary_of_a_settlement_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> int:
        number = 0
        while True:
            number += 1
            path = tmp_path / f"{number}.db"
            chain = world(path)
            boundaries = Boundaries(number)
            try:
                await until_killed(chain, path, boundaries)
            except Killed:
                pass
            else:
                return number - 1
            found = await after_restart(chain, path)
            assert chain.received == {OPERATOR: 700 + 233 + 3_500_000}
            assert found.withdrawn == 700 + 233 + 3_500_000
            assert (found.vouchered, found.at_risk, found.lost) == (0, 0, 777 + 50)
            assert found.accounted
            reasons = sorted(one.reason for one in found.periods if one.lost)
            assert reasons == ["bad_signature", "nothing_payable"]

    assert asyncio.run(scenario()) >= 40
