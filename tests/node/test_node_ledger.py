"""The ledger: what was promised outlives the process, and storage stays within bounds."""

import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from node_bench import DELEGATE_KEY, NODE_SEED, OPERATOR, SUBSCRIBER

from ricochet_node.ledger import Ledger, StoredAnswer, read_books
from ricochet_protocol.answer import Answer
from ricochet_protocol.conversation import ToolCall
from ricochet_protocol.eip712 import SignedVoucher, Voucher, sign_voucher
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.ids import Hash32, ModelId, Period, RequestId
from ricochet_protocol.messages import Answered
from ricochet_protocol.money import Units
from ricochet_protocol.receipt import Receipt, answer_digest, sign_receipt
from twins.settlement import DOMAIN

PERIOD = Period(1)
MODEL = ModelId("m")


def voucher(amount: int, period: int = 1) -> SignedVoucher:
    value = Voucher(SUBSCRIBER, OPERATOR, Period(period), Units(amount))
    return sign_voucher(DELEGATE_KEY, DOMAIN, value)


def answer(
    number: int, text: str = "text", due: int = 10, calls: tuple[ToolCall, ...] = ()
) -> StoredAnswer:
    receipt = Receipt(
        network=DOMAIN.network,
        subscriber=SUBSCRIBER,
        operator=OPERATOR,
        period=PERIOD,
        request_id=RequestId(f"{number:032x}"),
        ask=Hash32(b"a" * 32),
        advert=Hash32(b"b" * 32),
        answer=answer_digest(text, calls),
        tokens_in=3,
        tokens_out=4,
        exact=True,
        cost=Units(10),
        due=Units(due),
    )
    answered = Answered(receipt=sign_receipt(NODE_SEED, receipt), finish="stop")
    return StoredAnswer(ask=receipt.ask, answer=Answer(text, calls), answered=answered)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.db"


def test_everything_comes_back_after_reopening(path: Path) -> None:
    ledger = Ledger(path)
    ledger.record(MODEL, answer(1, due=10), now=0)
    called = answer(2, due=20, calls=(ToolCall("c1", "look", "{}"),))
    ledger.record(MODEL, called, now=0)
    assert ledger.accept(voucher(15))
    ledger.close()
    ledger = Ledger(path)
    account = ledger.account(SUBSCRIBER, PERIOD)
    assert (account.due, account.vouchered) == (20, 15)
    assert account.voucher == voucher(15)
    assert ledger.answer(SUBSCRIBER, RequestId(f"{2:032x}")) == called
    (sales,) = ledger.sales()
    assert (sales.calls, sales.tokens_in, sales.tokens_out, sales.earned) == (2, 6, 8, 20)
    assert ledger.earned() == 10  # floor of 70 % of 15
    ledger.close()


def test_strangers_have_nothing(path: Path) -> None:
    ledger = Ledger(path)
    assert ledger.account(SUBSCRIBER, PERIOD).due == 0
    assert ledger.answer(SUBSCRIBER, RequestId("0" * 32)) is None
    assert ledger.live() == () and ledger.unclaimed_sum() == 0
    ledger.close()


def test_an_answer_is_recorded_whole_or_not_at_all(path: Path) -> None:
    ledger = Ledger(path)
    ledger.record(MODEL, answer(1, due=10), now=0)
    with pytest.raises(Exception, match="UNIQUE"):
        ledger.record(MODEL, answer(1, "another text", due=99), now=0)
    assert ledger.account(SUBSCRIBER, PERIOD).due == 10
    assert ledger.sales()[0].calls == 1
    ledger.close()


@settings(max_examples=30)
@given(amounts=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=6))
def test_the_highest_voucher_stays(
    tmp_path_factory: pytest.TempPathFactory, amounts: list[int]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "node.db")
    highest = -1
    for amount in amounts:
        assert ledger.accept(voucher(amount)) == (amount > highest)
        highest = max(highest, amount)
        assert ledger.account(SUBSCRIBER, PERIOD).vouchered == highest
    ledger.close()


def test_claims_are_noted_and_hopeless_ones_given_up(path: Path) -> None:
    ledger = Ledger(path)
    ledger.accept(voucher(100))
    ledger.accept(voucher(300, period=2))
    assert [entry.voucher for entry in ledger.live()] == [voucher(100), voucher(300, 2)]
    ledger.note_claimed(SUBSCRIBER, PERIOD, Units(60))
    assert ledger.unclaimed_sum() == 340
    ledger.note_void(voucher(200, 2), "an older voucher", Units(500))
    assert ledger.unclaimed_sum() == 340
    ledger.note_void(voucher(300, 2), "nothing_payable", Units(500))
    assert ledger.account(SUBSCRIBER, Period(2)).void == "nothing_payable"
    assert ledger.unclaimed_sum() == 40 and ledger.earned() == 70
    assert ledger.accept(voucher(301, period=2))
    assert ledger.unclaimed_sum() == 341
    ledger.close()


def chain_says(ledger: Ledger, claimed: int, backing: int, closed: bool = False) -> None:
    ledger.note_chain(
        SUBSCRIBER,
        PERIOD,
        claimed=Units(claimed),
        ends=1_000,
        backing=Units(backing),
        closed=closed,
    )


def test_the_chains_word_replaces_the_note_also_downward(path: Path) -> None:
    ledger = Ledger(path)
    ledger.accept(voucher(100))
    chain_says(ledger, claimed=60, backing=100)
    assert ledger.unclaimed_sum() == 40
    chain_says(ledger, claimed=0, backing=100)  # a reorganisation took the claim back
    assert ledger.unclaimed_sum() == 100
    (entry,) = ledger.live()
    assert (entry.claimed, entry.ends, entry.closed) == (0, 1_000, False)
    ledger.close()


def test_a_voucher_given_up_returns_when_its_backing_grows(path: Path) -> None:
    ledger = Ledger(path)
    ledger.accept(voucher(100))
    ledger.note_void(voucher(100), "nothing_payable", Units(80))
    chain_says(ledger, claimed=80, backing=80)
    assert ledger.unclaimed_sum() == 0
    chain_says(ledger, claimed=80, backing=81)
    assert ledger.unclaimed_sum() == 20
    ledger.close()


def test_a_closed_period_is_looked_at_no_more(path: Path) -> None:
    ledger = Ledger(path)
    ledger.accept(voucher(100))
    chain_says(ledger, claimed=30, backing=100, closed=True)
    assert ledger.live() == () and ledger.unclaimed_sum() == 0 and ledger.earned() == 21
    (entry,) = ledger.books().entries
    assert entry.closed and entry.claimed == 30
    ledger.close()


def test_reading_alone_changes_nothing_and_respects_the_lock(path: Path) -> None:
    assert read_books(path).entries == () and not path.exists()
    ledger = Ledger(path)
    ledger.record(MODEL, answer(1, due=10), now=0)
    ledger.accept(voucher(7))
    books = ledger.books()
    with pytest.raises(LocalFault) as caught:
        read_books(path)
    assert caught.value.code == "already_running"
    ledger.close()
    before = path.read_bytes()
    assert read_books(path) == books
    assert books.served == 10 and [entry.vouchered for entry in books.entries] == [7]
    assert path.read_bytes() == before


_FIRST_SHAPE = """
CREATE TABLE account (
    subscriber TEXT, period INTEGER,
    due INTEGER NOT NULL DEFAULT 0,
    vouchered INTEGER NOT NULL DEFAULT 0, voucher BLOB,
    claimed INTEGER NOT NULL DEFAULT 0, void TEXT,
    PRIMARY KEY (subscriber, period)
) WITHOUT ROWID;
CREATE TABLE sales (
    model TEXT PRIMARY KEY,
    calls INTEGER NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,
    earned INTEGER NOT NULL
) WITHOUT ROWID;
"""


def test_an_older_file_is_brought_up_to_date(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(_FIRST_SHAPE)
        row = (SUBSCRIBER, 1, 9, 7, msgspec.msgpack.encode(voucher(7)), 2, "nothing_payable")
        db.execute("INSERT INTO account VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        db.commit()
    with pytest.raises(LocalFault) as caught:
        read_books(path)
    assert caught.value.code == "ledger_old" and "start the node" in caught.value.hint
    ledger = Ledger(path)
    (entry,) = ledger.live()
    assert (entry.voucher, entry.claimed, entry.ends, entry.void) == (voucher(7), 2, None, "")
    assert ledger.unclaimed_sum() == 5
    ledger.close()
    Ledger(path).close()


def test_a_newer_file_is_left_alone(path: Path) -> None:
    Ledger(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    for opens in (Ledger, read_books):
        with pytest.raises(LocalFault) as caught:
            opens(path)
        assert caught.value.code == "ledger_new"


def test_answers_are_bounded_in_bytes(path: Path) -> None:
    ledger = Ledger(path, max_bytes=100)
    for number in range(5):
        ledger.record(MODEL, answer(number, "x" * 40), now=number)
    kept = [n for n in range(5) if ledger.answer(SUBSCRIBER, RequestId(f"{n:032x}"))]
    assert kept == [3, 4]
    ledger.close()
    ledger = Ledger(path, max_bytes=100)
    ledger.record(MODEL, answer(5, "x" * 40), now=5)
    assert ledger.answer(SUBSCRIBER, RequestId(f"{3:032x}")) is None
    ledger.close()


def test_answers_are_bounded_in_age(path: Path) -> None:
    ledger = Ledger(path, max_age=10)
    ledger.record(MODEL, answer(1), now=0)
    ledger.record(MODEL, answer(2), now=9)
    assert ledger.answer(SUBSCRIBER, RequestId(f"{1:032x}"))
    ledger.record(MODEL, answer(3), now=11)
    assert ledger.answer(SUBSCRIBER, RequestId(f"{1:032x}")) is None
    assert ledger.answer(SUBSCRIBER, RequestId(f"{2:032x}"))
    ledger.close()


def test_the_file_is_private_and_belongs_to_one_process(path: Path) -> None:
    ledger = Ledger(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(LocalFault) as caught:
        Ledger(path)
    assert caught.value.code == "already_running"
    ledger.close()
    Ledger(path).close()


def test_a_damaged_file_is_told(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(LocalFault) as caught:
        Ledger(path)
    assert caught.value.code == "ledger_damaged"
    with pytest.raises(LocalFault) as caught:
        read_books(path)
    assert caught.value.code == "ledger_damaged"
    assert "backup" in caught.value.hint


_WRITER = """
import sys
from contextlib import closing
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_node_ledger import MODEL, answer, voucher
from ricochet_node.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    ledger.record(MODEL, answer(number, due=10 * number), now=number)
    ledger.accept(voucher(10 * number))
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    here = Path(__file__).parent
    command = [sys.executable, "-c", _WRITER, str(path), str(here), str(here.parent)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(5)][-1]
    writer.send_signal(signal.SIGKILL)
    acknowledged = int((writer.stdout.read().split() or [acknowledged])[-1])
    writer.stdout.close()
    writer.wait(10)
    # A killed node leaves its log behind; reading alone copes with it.
    (entry,) = read_books(path).entries
    assert entry.vouchered >= 10 * acknowledged
    ledger = Ledger(path)
    account = ledger.account(SUBSCRIBER, PERIOD)
    assert account.vouchered >= 10 * acknowledged
    assert account.due >= account.vouchered
    assert account.voucher == voucher(account.vouchered)
    assert ledger.answer(SUBSCRIBER, RequestId(f"{acknowledged:032x}")) is not None
    ledger.close()


def test_a_charge_is_due_and_sold_without_an_answer(path: Path) -> None:
    ledger = Ledger(path)
    ledger.record(MODEL, answer(1, due=10), now=0)
    ledger.charge(SUBSCRIBER, PERIOD, MODEL, (7, 2), Units(5))
    assert ledger.account(SUBSCRIBER, PERIOD).due == 15
    (sales,) = ledger.sales()
    assert (sales.calls, sales.tokens_in, sales.tokens_out, sales.earned) == (2, 10, 6, 15)
    assert sum(entry.due for entry in ledger.books().entries) == ledger.books().served
    ledger.close()


def test_what_earlier_periods_left_unpaid_is_owed(path: Path) -> None:
    ledger = Ledger(path)
    later = Period(PERIOD + 1)
    ledger.charge(SUBSCRIBER, PERIOD, MODEL, (7, 2), Units(50))
    assert (ledger.owed(SUBSCRIBER, PERIOD), ledger.owed(SUBSCRIBER, later)) == (0, 50)
    ledger.note_claimed(SUBSCRIBER, PERIOD, Units(40))
    assert ledger.owed(SUBSCRIBER, later) == 10
    ledger.note_claimed(SUBSCRIBER, PERIOD, Units(60))
    assert ledger.owed(SUBSCRIBER, later) == 0, "what was paid ahead there is no credit here"
    ledger.close()
