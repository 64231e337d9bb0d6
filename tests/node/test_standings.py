"""What counts as committed: what the chain confirms, also when that is less than before."""

import asyncio
from pathlib import Path

from ricochet_node.ledger import Ledger
from ricochet_node.standings import Standings
from ricochet_protocol.eip712 import Reservation, SignedReservation, sign_reservation
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.money import UNITS_PER_DOLLAR, Units
from ricochet_protocol.signing import account_address
from twins.settlement import MemorySettlement

KEY = bytes([0xA1]) * 32
ALICE = account_address(KEY)
OPERATOR = Address("0x" + "0a" * 20)
PERIOD = Period(1)


def reservation(chain: MemorySettlement, total: int) -> SignedReservation:
    value = Reservation(subscriber=ALICE, node=OPERATOR, period=PERIOD, total=Units(total))
    return sign_reservation(KEY, chain.domain, value)


def test_only_what_is_confirmed_counts_and_a_reorganisation_takes_it_back(tmp_path: Path) -> None:
    async def main() -> None:
        chain = MemorySettlement(confirmations=2)
        chain.subscribe(ALICE, 5 * UNITS_PER_DOLLAR, ALICE)
        books = Ledger(tmp_path / "node.db")
        standings = Standings(books, chain, OPERATOR)

        async def committed() -> Units:
            await standings.refresh(ALICE, PERIOD)
            return standings.of(ALICE, PERIOD).state.committed

        await chain.reserve([reservation(chain, 100)])
        assert await committed() == 0
        chain.mine(2)
        assert await committed() == 100
        before = chain.save()
        await chain.reserve([reservation(chain, 300)])
        assert await committed() == 100
        chain.mine(2)
        assert await committed() == 300
        assert standings.account(ALICE, PERIOD).committed == 300
        chain.restore(before)
        assert await committed() == 100
        books.close()

    asyncio.run(main())
