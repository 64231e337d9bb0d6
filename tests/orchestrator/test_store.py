import sqlite3
from pathlib import Path

import msgspec
import pytest
from orchestrator_stage import PAYER
from sqlmodel import create_engine

from ricochet_orchestrator.account import Account, accept
from ricochet_orchestrator.chain_language import Chain, ChainStep
from ricochet_orchestrator.checkpoint import Answer, RunRecord, RunStatus, Status
from ricochet_orchestrator.document import document_from
from ricochet_orchestrator.plan import Source, Step, StepId
from ricochet_orchestrator.request import Options, request_for
from ricochet_orchestrator.store import Store
from ricochet_orchestrator.tables import METADATA, MIGRATIONS
from ricochet_protocol.errors import ConfigurationError, LocalFault
from ricochet_protocol.ids import Address, ModelId, PeerId, Period
from ricochet_protocol.money import Units
from ricochet_protocol.payer import Purse
from ricochet_protocol.steps import Surplus

NODE = Address("0x" + "aa" * 20)
SPEC = ChainStep("a", "analyzer", "map", "segments", "{text}", 9)


def step_of(number: int) -> Step:
    step_id = StepId(f"{number:064x}")
    source = Source("key", 9, ((number, number + 1),), 0, segment=number)
    return Step(step_id, step_id, SPEC, ModelId("m"), number, (source,), source.spans)


STEPS = tuple(step_of(number) for number in range(3))
DOCUMENT = document_from("d.txt", "x" * 30)
REQUEST = request_for(DOCUMENT, Chain("c", (SPEC,)), Options())


def record(name: str, key: str = "key", status: RunStatus = RunStatus.RUNNING) -> RunRecord:
    windows = {ModelId("m"): 2304}
    return RunRecord(name, key, "d.txt", "c", ModelId("m"), windows, status, 1.0, (STEPS[-1].id,))


def answer(step: Step, cost: int = 5, run: str = "one") -> Answer:
    return Answer(
        step=step.id,
        run=run,
        text="text\n",
        finish="stop",
        peer=PeerId("p"),
        operator=NODE,
        period=Period(1),
        tokens_in=1,
        tokens_out=2,
        exact=True,
        cost=Units(cost),
        first_token=0.1,
        seconds=0.2,
        receipt=b"receipt",
        advert=b"advert",
        completed_at=3.0,
    )


def entered(store: Store, run: RunRecord) -> None:
    store.enter(run, REQUEST, DOCUMENT)
    store.plan_run(run, STEPS)


def paid(cost: int):  # type: ignore[no-untyped-def]  # a closure for `complete`
    def pay(account: Account, _: tuple[Account, ...]) -> Account:
        reserved = msgspec.structs.replace(account, reserved=Units(1_000))
        left = Purse(Units(0), Units(0), Units(1_000), Units(1_000))
        return accept(PAYER, reserved, Units(cost), Units(10**6), Units(cost), left)

    return pay


@pytest.fixture
def store(tmp_path: Path):  # type: ignore[no-untyped-def]  # a generator fixture
    opened = Store(tmp_path / "runs.db")
    yield opened
    opened.close()


def test_migrations_make_the_tables_that_the_classes_describe(tmp_path: Path) -> None:
    Store(tmp_path / "migrated.db").close()
    engine = create_engine(f"sqlite:///{tmp_path / 'created.db'}")
    METADATA.create_all(engine)
    engine.dispose()
    shapes = []
    for name in ("migrated.db", "created.db"):
        connection = sqlite3.connect(tmp_path / name)
        tables = sorted(METADATA.tables)
        shapes.append(
            {
                table: (
                    [
                        row[1:4] + row[5:]
                        for row in connection.execute(f"PRAGMA table_info({table})")
                    ],
                    sorted(row[1] for row in connection.execute(f"PRAGMA index_list({table})")),
                )
                for table in tables
            }
        )
        connection.close()
    assert shapes[0] == shapes[1]


def test_a_run_and_its_steps_come_back_as_they_were(store: Store) -> None:
    run = msgspec.structs.replace(record("one"), seconds=2.5)
    entered(store, run)
    assert store.run("one") == store.run(None) == run
    assert [step.id for step in store.steps("one")] == [step.id for step in STEPS]
    assert {step.status for step in store.steps("one")} == {Status.PENDING}
    assert store.run("none") is None


def test_the_latest_unfinished_run_of_a_key_is_found(store: Store) -> None:
    entered(store, record("one"))
    entered(store, record("two"))
    entered(store, record("three", key="other"))
    found = store.unfinished("key")
    assert found is not None and found.id == "two"
    store.close_run("two", RunStatus.COMPLETED, 4.0, {})
    assert store.unfinished("key") is None
    assert store.unfinished("none") is None


def test_whom_a_step_was_asked_of_is_kept_when_a_run_is_paused(store: Store) -> None:
    entered(store, record("one"))
    store.asking("one", STEPS[0].id, PeerId("p"), b"advert", 7.0)
    store.asking("one", STEPS[0].id, PeerId("q"), b"other", 8.0)
    store.close_run("one", RunStatus.PAUSED, 4.0, {Status.RUNNING: Status.PAUSED})
    first, second, _ = store.steps("one")
    assert (first.status, first.peer, first.advert) == (Status.PAUSED, "q", b"other")
    assert (first.attempts, first.started_at) == (2, 7.0)
    assert second.status is Status.PENDING


def test_an_answer_and_the_account_it_changes_are_one(store: Store) -> None:
    entered(store, record("one"))
    account = store.complete(answer(STEPS[0]), paid(5))
    assert account is not None
    assert account.accepted == 5
    assert store.account(NODE, Period(1)) == account
    assert store.answers("one") == {STEPS[0].id: answer(STEPS[0])}
    assert store.steps("one")[0].status is Status.COMPLETED


def test_when_paying_fails_nothing_of_the_answer_is_kept(store: Store) -> None:
    entered(store, record("one"))

    def fails(_: Account, __: tuple[Account, ...]) -> Account:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.complete(answer(STEPS[0]), fails)
    assert store.answers("one") == {}
    assert store.account(NODE, Period(1)) == Account(NODE, Period(1))


def test_a_second_answer_to_a_step_changes_nothing(store: Store) -> None:
    entered(store, record("one"))
    store.complete(answer(STEPS[0]), paid(5))
    assert store.complete(answer(STEPS[0], cost=7), paid(7)) is None
    assert store.account(NODE, Period(1)).accepted == 5
    assert store.answers("one")[STEPS[0].id].cost == 5


def test_an_answer_serves_every_run_that_has_the_step(store: Store) -> None:
    entered(store, record("one"))
    store.complete(answer(STEPS[1]), paid(5))
    entered(store, record("two"))
    store.mark_cached("two", 9.0)
    assert set(store.answers("two")) == {STEPS[1].id}
    assert [step.completed_at for step in store.steps("two")] == [None, 9.0, None]


def test_two_processes_add_to_one_account(tmp_path: Path, store: Store) -> None:
    other = Store(tmp_path / "runs.db")
    entered(store, record("one"))
    store.complete(answer(STEPS[0]), paid(5))
    other.complete(answer(STEPS[1], cost=6), paid(6))
    account = store.complete(answer(STEPS[2], cost=7), paid(7))
    other.close()
    assert account is not None and account.accepted == 18
    assert account.voucher is not None and account.voucher.voucher.cumulative == 18


def test_trust_counts_on_in_the_next_period_but_money_does_not(store: Store) -> None:
    entered(store, record("one"))
    store.complete(answer(STEPS[0]), paid(5))
    assert store.account(NODE, Period(2)) == Account(
        NODE, Period(2), answers=1, surplus=Surplus(5, 5)
    )
    assert store.accounts(Period(2)) == ()
    assert [account.node for account in store.accounts(Period(1))] == [NODE]


def test_a_change_that_is_refused_leaves_the_account(store: Store) -> None:
    def refuses(_: Account, __: tuple[Account, ...]) -> Account:
        raise ValueError("no")

    node = Address("0x" + "cc" * 20)
    store.change_account(
        node, Period(1), lambda a, _: msgspec.structs.replace(a, reserved=Units(3))
    )
    with pytest.raises(ValueError, match="no"):
        store.change_account(node, Period(1), refuses)
    assert store.account(node, Period(1)).reserved == 3


def test_a_step_that_failed_tells_why(store: Store) -> None:
    entered(store, record("one"))
    store.mark_step("one", STEPS[0].id, Status.FAILED, "peer went silent")
    assert store.steps("one")[0].error == "peer went silent"


def test_the_file_is_for_its_owner_only(tmp_path: Path, store: Store) -> None:
    entered(store, record("one"))
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {0o600}


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.db"
    path.write_bytes(b"not a database, but long enough to look like one" * 30)
    with pytest.raises(LocalFault) as caught:
        Store(path)
    assert caught.value.code == "store_damaged"
    assert "mv " in caught.value.hint


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(ConfigurationError) as caught:
        Store(path)
    assert caught.value.code == "store_newer"


def test_a_locked_file_is_told_from_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ricochet_orchestrator.database.LOCK_WAIT", 0.05)
    Store(tmp_path / "runs.db").close()
    holder = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LocalFault) as caught:
        Store(tmp_path / "runs.db")
    holder.close()
    assert caught.value.code == "store_locked"


def test_a_lock_that_is_held_while_a_run_goes_on_is_told_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ricochet_orchestrator.database.LOCK_WAIT", 0.05)
    store = Store(tmp_path / "runs.db")
    entered(store, record("one"))
    holder = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LocalFault) as caught:
        store.complete(answer(step_of(0)), paid(5))
    assert (caught.value.code, store.answers("one")) == ("store_locked", {})
    holder.close()
    assert store.complete(answer(step_of(0)), paid(5)) is not None
    store.close()


def test_a_step_that_is_there_no_more_is_told_and_its_answer_not_kept(store: Store) -> None:
    entered(store, record("one"))
    gone = answer(step_of(99))
    with pytest.raises(LocalFault) as caught:
        store.complete(gone, paid(5))
    assert caught.value.code == "step_missing"
    assert store.answers_to([gone.step]) == {}
    assert store.account(gone.operator, gone.period).accepted == 0


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalFault) as caught:
        Store(tmp_path / "file" / "runs.db")
    assert caught.value.code == "store_failed"


def test_a_store_from_before_plans_grew_keeps_its_runs_and_answers(
    tmp_path: Path,
) -> None:
    path = tmp_path / "old.db"
    old = sqlite3.connect(path)
    for statements in MIGRATIONS[:2]:
        for statement in statements:
            old.execute(statement)
    old.execute("PRAGMA user_version = 2")
    old.execute(
        "INSERT INTO runs VALUES ('one', 'key', 'd.txt', 'c', 'm', '{\"m\": 2304}', 'paused', 1.0,"
        " ?, 2.5)",
        (f'["{STEPS[0].id}"]',),
    )
    old.execute(
        "INSERT INTO steps VALUES ('one', ?, 0, 'a', 'analyzer', 'm', 'completed', 'p', NULL, 1,"
        " '', 1.0, 2.0)",
        (STEPS[0].id,),
    )
    old.execute(
        "INSERT INTO answers VALUES (?, 'one', 'text', 'stop', 'p', ?, 1, 1, 2, 1, 5, 0.1, 0.2,"
        " x'00', x'00', x'00', 3.0)",
        (STEPS[0].id, NODE),
    )
    old.commit()
    old.close()
    store = Store(path)
    try:
        run = store.run("one")
        assert run is not None and (run.seconds, run.sources, run.cites) == (2.5, (), False)
        (step,) = store.steps("one")
        assert (step.slot, step.inputs, step.attempt) == (STEPS[0].id, (), 0)
        assert store.answers("one")[STEPS[0].id].text == "text"
        found = store.add_steps("one", STEPS, 9.0)
        assert set(found) == {STEPS[0].id}
        assert [one.status for one in store.steps("one")] == ["completed", "pending", "pending"]
        assert store.add_steps("one", STEPS, 9.0) == found, "entering twice changes nothing"
    finally:
        store.close()


def of_version(path: Path, version: int) -> None:
    """A file as an older Ricochet left it: a paused run, and the answer to its first step."""
    old = sqlite3.connect(path)
    for statements in MIGRATIONS[:version]:
        for statement in statements:
            old.execute(statement)
    old.execute(f"PRAGMA user_version = {version}")
    rows = {
        "runs (id, key, document, chain, model, windows, status, created_at, outputs, seconds)": (
            *("one", "key", "d.txt", "c", "m", '{"m": 2304}', "paused", 1.0),
            *(f'["{STEPS[0].id}"]', 2.5),
        ),
        "steps (run, id, position, name, role, model, status, attempts, error)": (
            *("one", STEPS[0].id, 0, "a", "analyzer", "m", "completed", 1, ""),
        ),
        "answers": (
            *(STEPS[0].id, "one", "text", "stop", "p", NODE, 1, 1, 2, 1, 5, 0.1, 0.2),
            *(b"", b"", b"", 3.0),
        ),
        "accounts (node, period, reserved, committed, accepted, acknowledged, answers)": (
            *(NODE, 1, 100, 50, 5, 5, 1),
        ),
    }
    for table, values in rows.items():
        marks = ", ".join("?" * len(values))
        old.execute(f"INSERT INTO {table} VALUES ({marks})", values)
    old.commit()
    old.close()


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_no_older_store_loses_a_run_an_answer_or_an_account(tmp_path: Path, version: int) -> None:
    of_version(tmp_path / "old.db", version)
    store = Store(tmp_path / "old.db")
    try:
        run = store.run(None)
        assert run is not None and (run.id, run.seconds, run.lost) == ("one", 2.5, 0)
        assert store.answers("one")[STEPS[0].id].text == "text"
        account = store.account(NODE, Period(1))
        assert (account.committed, account.accepted, account.answers) == (50, 5, 1)
    finally:
        store.close()


def test_a_migration_that_is_cut_off_leaves_the_older_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.db"
    of_version(path, 2)
    before = list(sqlite3.connect(path).iterdump())
    cut = (*MIGRATIONS[:-1], ("no SQL",))
    monkeypatch.setattr("ricochet_orchestrator.database.MIGRATIONS", cut)
    with pytest.raises(LocalFault):
        Store(path)
    monkeypatch.undo()
    old = sqlite3.connect(path)
    assert (list(old.iterdump()), *old.execute("PRAGMA user_version")) == (before, (2,))
    old.close()
    Store(path).close()
