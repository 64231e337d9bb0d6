"""What counts as committed: what the chain confirms, also when that is less than before."""

import asyncio
from pathlib import Path

from ricochet_network.virtual_time import run_virtual
from ricochet_node.confirming import PAUSE, Confirming
from ricochet_node.ledger import Ledger
from ricochet_node.log import open_log
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
        assert standings.known() == ((ALICE, PERIOD),)
        books.close()

    asyncio.run(main())


def test_what_is_confirmed_is_read_again_without_a_word_from_the_subscriber(tmp_path: Path) -> None:
    async def main() -> None:
        chain = MemorySettlement(confirmations=2)
        chain.subscribe(ALICE, 5 * UNITS_PER_DOLLAR, ALICE)
        books = Ledger(tmp_path / "node.db")
        standings = Standings(books, chain, OPERATOR)
        with open_log(tmp_path / "log") as log:
            confirming = Confirming(standings, log)
            before = chain.save()
            await chain.reserve([reservation(chain, 100)])
            await standings.refresh(ALICE, PERIOD)
            chain.mine(2)
            running = asyncio.create_task(confirming.run())
            await asyncio.sleep(PAUSE + 1)
            assert standings.account(ALICE, PERIOD).committed == 100
            chain.reachable = False
            await asyncio.sleep(3 * PAUSE)
            assert standings.account(ALICE, PERIOD).committed == 100
            chain.reachable = True
            chain.restore(before)
            await asyncio.sleep(PAUSE)
            assert standings.account(ALICE, PERIOD).committed == 0
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert (tmp_path / "log").read_text().count("chain_unread") == 1
        books.close()

    run_virtual(main())
