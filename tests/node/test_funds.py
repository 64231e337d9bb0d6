"""Every unit in exactly one state: the split as arithmetic, and random histories on the twins."""

import asyncio
import io
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from node_bench import FEE, NODE_SEED, OPERATOR, Bench, run

from ricochet_node.claimer import Claimer
from ricochet_node.config import ClaimSettings
from ricochet_node.funds import Funds, Reading, add_up, split, survey
from ricochet_node.ledger import Books, Entry, Ledger, StoredAnswer
from ricochet_node.log import EventLog
from ricochet_protocol.answer import Answer
from ricochet_protocol.eip712 import Reservation, Voucher, sign_reservation, sign_voucher
from ricochet_protocol.errors import ChainError
from ricochet_protocol.ids import Address, Hash32, ModelId, Period, RequestId
from ricochet_protocol.messages import Answered
from ricochet_protocol.money import CLAIM_WINDOW, Units, node_share
from ricochet_protocol.ports import Commitment
from ricochet_protocol.receipt import Receipt, answer_digest, sign_receipt
from ricochet_protocol.signing import account_address, peer_of
from twins.settlement import DOMAIN, PERIOD, MemorySettlement

ENDS = 1_000_000
STATES = ("unpaid", "vouchered", "at_risk", "withdrawable", "withdrawn", "commission", "lost")
WHO = Address("0x" + "51" * 20)


def entry(due: int, vouchered: int, *, void: str = "", closed: bool = False) -> Entry:
    return Entry(
        subscriber=WHO,
        period=Period(1),
        due=Units(due),
        vouchered=Units(vouchered),
        voucher=None,
        claimed=Units(0),
        void=void,
        closed=closed,
    )


def reading(committed: int, claimed: int = 0, ends: int = ENDS) -> Reading:
    return Reading(Commitment(committed=Units(committed), claimed=Units(claimed)), ends)


def parts(one: Entry, read: Reading, time: int = 0) -> tuple[int, int, int, int, int]:
    """Unpaid, vouchered, at risk, claimed, lost."""
    found = split(one, read, time)
    return found.unpaid, found.vouchered, found.at_risk, found.claimed, found.lost


def test_each_part_of_a_period_has_its_state() -> None:
    assert parts(entry(100, 0), reading(100)) == (100, 0, 0, 0, 0)
    assert parts(entry(100, 0), reading(60)) == (60, 0, 40, 0, 0)
    assert parts(entry(100, 70), reading(100, 50)) == (30, 20, 0, 50, 0)
    assert parts(entry(100, 70), reading(60, 50)) == (0, 10, 40, 50, 0)
    assert parts(entry(100, 100), reading(100, 100)) == (0, 0, 0, 100, 0)


def test_what_nobody_will_pay_is_lost_with_its_reason() -> None:
    void = entry(100, 70, void="nothing_payable")
    assert parts(void, reading(50, 50)) == (0, 0, 30, 50, 20)
    assert split(void, reading(50, 50), 0).reason == "nothing_payable"
    late = entry(100, 70)
    over = ENDS + CLAIM_WINDOW
    assert parts(late, reading(100, 50), over - 1) == (30, 20, 0, 50, 0)
    assert parts(late, reading(100, 50), over) == (0, 0, 0, 50, 50)
    assert split(late, reading(100, 50), over).reason == "window_ended"
    assert parts(entry(100, 70, closed=True), reading(50, 50)) == (0, 0, 0, 50, 50)
    assert split(entry(10, 10), reading(10, 10), over).reason == ""


def test_a_period_the_chain_does_not_know_has_no_dates() -> None:
    found = split(entry(5, 5), reading(0, ends=0), 2**40)
    assert (found.ends, found.claim_by, found.at_risk) == (0, 0, 5)


@given(
    due=st.integers(0, 1_000),
    vouchered=st.integers(0, 1_200),
    committed=st.integers(0, 1_200),
    claimed=st.integers(0, 1_200),
    time=st.integers(ENDS, ENDS + 2 * CLAIM_WINDOW),
    void=st.sampled_from(["", "bad_signature"]),
    closed=st.booleans(),
    withdrawn=st.integers(0, 1_000),
)
def test_any_books_add_up(
    due: int,
    vouchered: int,
    committed: int,
    claimed: int,
    time: int,
    void: str,
    closed: bool,
    withdrawn: int,
) -> None:
    one = entry(due, vouchered, void=void, closed=closed)
    found = split(one, reading(max(committed, claimed), claimed), time)
    amounts = (found.unpaid, found.vouchered, found.at_risk, found.claimed, found.lost)
    assert min(amounts) >= 0
    assert sum(amounts) == found.served + found.ahead == max(due, vouchered, claimed)
    left = max(0, node_share(Units(claimed)) - withdrawn)
    whole = add_up([found], Units(due), Units(left), time)
    assert whole.accounted and whole.elsewhere == 0
    assert whole.withdrawn + whole.withdrawable + whole.commission == claimed
    assert not add_up([found], Units(due + 1), Units(left), time).accounted


class History:
    """A ledger and a chain to which anything may happen; keys are the subscribers'."""

    def __init__(self, path: Path) -> None:
        self.chain = MemorySettlement()
        self.chain.register_node(OPERATOR, peer_of(NODE_SEED), (), OPERATOR)
        self.periods: dict[int, Period] = {}
        for who in range(3):
            self.renew(who)
        self.ledger = Ledger(path)
        self._numbers = 0
        log = EventLog(io.StringIO())
        claim = ClaimSettings(minimum=Units(50), ether_price=Units(0), look=0)
        self.claimer = Claimer(
            self.chain, self.ledger, OPERATOR, claim, lambda: self.chain.now, log
        )

    def key(self, who: int) -> bytes:
        return bytes([0x41 + who]) * 32

    def serve(self, who: int, units: int) -> None:
        account, period = account_address(self.key(who)), self._period(who)
        self._numbers += 1
        due = self.ledger.account(account, period).due + units
        receipt = Receipt(
            network=DOMAIN.network,
            subscriber=account,
            operator=OPERATOR,
            period=period,
            request_id=RequestId(f"{self._numbers:032x}"),
            ask=Hash32(b"a" * 32),
            advert=Hash32(b"b" * 32),
            answer=answer_digest("x"),
            tokens_in=1,
            tokens_out=1,
            exact=True,
            cost=Units(units),
            due=Units(due),
        )
        answered = Answered(receipt=sign_receipt(NODE_SEED, receipt), finish="stop")
        stored = StoredAnswer(ask=receipt.ask, answer=Answer("x"), answered=answered)
        self.ledger.record(ModelId("m"), stored, now=0)

    def pay(self, who: int, units: int, signer: bytes | None = None) -> None:
        account, period = account_address(self.key(who)), self._period(who)
        amount = Units(self.ledger.account(account, period).vouchered + units)
        value = Voucher(account, OPERATOR, period, amount)
        self.ledger.accept(sign_voucher(signer or self.key(who), self.chain.domain, value))

    async def reserve(self, who: int, units: int) -> None:
        account, period = account_address(self.key(who)), self._period(who)
        held = await self.chain.commitment(account, period, OPERATOR)
        value = Reservation(account, OPERATOR, period, Units(held.committed + units))
        await self.chain.reserve([sign_reservation(self.key(who), self.chain.domain, value)])

    async def spend_elsewhere(self, who: int) -> None:
        """All free budget goes to another node."""
        account, period = account_address(self.key(who)), self._period(who)
        found = await self.chain.period(account, period)
        assert found is not None
        other = Address("0x" + "0c" * 20)
        held = await self.chain.commitment(account, period, other)
        total = held.committed + found.budget - found.committed
        value = Reservation(account, other, period, Units(total))
        await self.chain.reserve([sign_reservation(self.key(who), self.chain.domain, value)])

    async def survey(self) -> Funds:
        return await survey(self.chain, self.ledger.books, OPERATOR)

    def renew(self, who: int) -> None:
        """Open the next period unless one runs."""
        account = account_address(self.key(who))
        with suppress(ChainError):
            self.periods[who] = self.chain.subscribe(account, FEE // 2, account)

    def _period(self, who: int) -> Period:
        return self.periods[who]


AMOUNTS = st.integers(1, 4_000_000)
WHO_PAYS = st.integers(0, 2)
STEPS = st.one_of(
    st.tuples(st.just("serve"), WHO_PAYS, AMOUNTS),
    st.tuples(st.just("pay"), WHO_PAYS, AMOUNTS),
    st.tuples(st.just("forge"), WHO_PAYS, AMOUNTS),
    st.tuples(st.just("reserve"), WHO_PAYS, AMOUNTS),
    st.tuples(st.just("elsewhere"), WHO_PAYS, st.just(0)),
    st.tuples(st.just("top up"), WHO_PAYS, AMOUNTS),
    st.tuples(st.just("renew"), WHO_PAYS, st.just(0)),
    st.tuples(st.just("delegate"), WHO_PAYS, st.integers(1, 3)),
    st.tuples(st.just("warp"), st.just(0), st.sampled_from([3600, 6 * 86400, 15 * 86400])),
    st.tuples(st.sampled_from(["round", "claim", "withdraw"]), st.just(0), st.just(0)),
)


async def take(history: History, step: tuple[str, int, int]) -> None:
    what, who, amount = step
    match what:
        case "serve":
            history.serve(who, amount)
        case "pay":
            history.pay(who, amount, signer=bytes([1 + amount % 3]) * 32 if amount % 2 else None)
        case "forge":
            history.pay(who, amount, signer=b"\x66" * 32)
        case "reserve":
            await history.reserve(who, amount)
        case "elsewhere":
            await history.spend_elsewhere(who)
        case "top up":
            with suppress(ChainError):
                history.chain.top_up(account_address(history.key(who)), amount)
        case "renew":
            history.renew(who)
        case "delegate":
            replaced = account_address(bytes([amount]) * 32)
            history.chain.set_delegate(account_address(history.key(who)), replaced)
        case "warp":
            history.chain.warp(amount)
        case _:
            await getattr(history.claimer, what)()


@settings(max_examples=80)
@given(steps=st.lists(STEPS, max_size=25))
def test_whatever_happens_every_unit_is_in_one_state(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    async def scenario() -> None:
        history = History(tmp_path_factory.mktemp("funds") / "node.db")
        served = 0
        try:
            for step in steps:
                await take(history, step)
                served += step[2] if step[0] == "serve" else 0
                found = await history.survey()
                assert found.accounted
                amounts = [getattr(found, state) for state in STATES]
                assert min(amounts) >= 0
                assert sum(amounts) == served + found.ahead and found.served == served
                assert found.withdrawn == history.chain.received.get(OPERATOR, 0)
                assert found.withdrawable == await history.chain.withdrawable(OPERATOR)
                assert found.elsewhere == 0
        finally:
            history.ledger.close()

    asyncio.run(scenario())


def test_a_running_node_tells_its_funds(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.reserve(50_000)
        await bench.client.pay(105)
        _, answered = await bench.client.ask()
        due = answered.receipt.receipt.due
        found = await bench.node.funds()
        assert (found["vouchered"], found["served"], found["accounted"]) == (105, due, True)
        assert found["ahead"] == 105 - due
        assert await bench.node.claim() == {"claimed": 105}
        share = node_share(Units(105))
        found = await bench.node.funds()
        assert (found["withdrawable"], found["commission"]) == (share, 105 - share)
        assert await bench.node.withdraw() == {"withdrawn": share}
        found = await bench.node.funds()
        assert (found["withdrawable"], found["withdrawn"]) == (0, share)
        (period,) = found["periods"]
        assert period["claim_by"] - period["ends"] == CLAIM_WINDOW
        assert period["ends"] == bench.chain.now + PERIOD

    run(tmp_path, scenario)


def test_a_claim_while_the_chain_is_read_is_not_counted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(1_000)
        plain = bench.chain.commitment

        async def claims_first(subscriber: Address, period: Period, node: Address) -> Commitment:
            read = await plain(subscriber, period, node)
            await bench.chain.claim([one.voucher for one in bench.ledger.live() if one.voucher])
            return read

        monkeypatch.setattr(bench.chain, "commitment", claims_first)
        found = await bench.node.funds()
        assert (found["withdrawable"], found["vouchered"], found["ahead"]) == (700, 0, 1_000)

    run(tmp_path, scenario)


def test_a_chain_that_never_rests_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        numbers = iter(range(100))

        async def grows(account: Address) -> Units:
            return Units(next(numbers))

        monkeypatch.setattr(bench.chain, "withdrawable", grows)
        with pytest.raises(ChainError) as caught:
            await bench.node.funds()
        assert caught.value.code == "chain_moves" and caught.value.hint

    run(tmp_path, scenario)


def test_income_from_other_books_is_shown_apart(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.client.hello()
        await bench.client.pay(1_000)
        await bench.node.claim()
        found = await survey(bench.chain, lambda: Books(entries=(), served=Units(0)), OPERATOR)
        assert (found.elsewhere, found.withdrawable, found.accounted) == (700, 0, True)

    run(tmp_path, scenario)
