"""API keys and what they spend: budgets hold whatever happens in whatever order."""

import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ricochet_orchestrator.account import Account
from ricochet_orchestrator.api_keys import DAY, FILE_NAME, ApiKeys
from ricochet_orchestrator.call_record import Allowance, Call, CallAnswer, CallId, CallStatus
from ricochet_orchestrator.calls import Calls
from ricochet_orchestrator.store import Store
from ricochet_protocol.errors import BudgetError, ConfigurationError, UsageError
from ricochet_protocol.ids import Address, Hash32, ModelId, NetworkId, Period, RequestId
from ricochet_protocol.money import Units
from ricochet_protocol.receipt import Receipt, SignedReceipt

BUDGET = 100
NODE = Address("0x" + "1" * 40)
RECEIPT = SignedReceipt(
    Receipt(
        network=NetworkId("n"),
        subscriber=NODE,
        operator=NODE,
        period=Period(1),
        request_id=RequestId("0" * 32),
        ask=Hash32(bytes(32)),
        advert=Hash32(bytes(32)),
        answer=Hash32(bytes(32)),
        tokens_in=1,
        tokens_out=1,
        exact=True,
        cost=Units(0),
        due=Units(0),
    ),
    bytes(64),
)


def call(number: int, allowance: Allowance, period: int = 1, at: float = 5.0) -> Call:
    return Call(CallId(str(number)), allowance, ModelId("m"), "r", Period(period), at)


def unchanged(account: Account, _: tuple[Account, ...]) -> Account:
    return account


def complete(calls: Calls, one: Call, cost: int) -> None:
    answer = CallAnswer("text", (), "stop", 1, 1, Units(cost))
    calls.complete(one, answer, NODE, RECEIPT, unchanged, 6.0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["hold", "complete", "end", "crash", "reopen"]),
        st.integers(0, 4),
        st.integers(1, 60),
        st.integers(0, 100),
    ),
    max_size=30,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STEPS)
def test_a_budget_is_never_passed(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("calls") / "runs.db"
    allowance = Allowance("k", Units(BUDGET))
    store = Store(path)
    calls = Calls(store)
    held: dict[int, int] = {}
    charged: dict[int, int] = {}
    for verb, number, worst, percent in steps:
        one, cost = call(number, allowance), held.get(number, 0) * percent // 100
        if verb == "hold" and number not in held:
            others = sum(charged.values()) + sum(held.values())
            if others + worst > BUDGET:
                with pytest.raises(BudgetError):
                    calls.hold(one, Units(worst), None, None)
            else:
                calls.hold(one, Units(worst), None, None)
                held[number] = worst
        elif verb in ("complete", "end") and number in held:
            if verb == "complete":
                complete(calls, one, cost)
            else:
                calls.end(one, Units(cost), CallStatus.FAILED)
            charged[number] = charged.get(number, 0) + cost
            del held[number]
        elif verb in ("crash", "reopen"):
            store.close()
            store = Store(path)
            calls = Calls(store)
            if verb == "crash":
                calls.cut()
        spent = calls.spent(allowance, Period(1), 5.0)
        assert spent == sum(held.values()) + sum(charged.values()) <= BUDGET
        assert calls.left(call(99, allowance)) == BUDGET - spent
    store.close()


def test_calls_at_once_never_pass_a_budget(tmp_path: Path) -> None:
    """Four stores as of four processes, and threads that run into each other."""
    allowance = Allowance("k", Units(BUDGET))
    Store(tmp_path / "runs.db").close()
    granted: list[int] = []
    start = threading.Barrier(4)

    def spend(first: int) -> None:
        store = Store(tmp_path / "runs.db")
        calls = Calls(store)
        start.wait()
        for number in range(first, first + 8):
            try:
                calls.hold(call(number, allowance), Units(7), None, None)
            except BudgetError:
                continue
            granted.append(number)
        store.close()

    threads = [threading.Thread(target=spend, args=(8 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == BUDGET // 7


def test_windows_of_budgets(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs.db")
    calls = Calls(store)
    daily, by_period = Allowance("d", Units(10), "day"), Allowance("p", Units(10), "period")
    for allowance in (daily, by_period):
        calls.hold(call(hash(allowance.key), allowance, 1, DAY - 1.0), Units(10), None, None)
    # The next day, still in the period; then the next period.
    assert calls.left(call(1, daily, 1, DAY)) == 10
    assert calls.left(call(1, daily, 2, DAY - 2.0)) == 0
    assert calls.left(call(1, by_period, 1, DAY)) == 0
    assert calls.left(call(1, by_period, 2, DAY)) == 10
    assert calls.left(call(1, Allowance("free"), 1, 0)) is None
    store.close()


def test_keys_are_kept_as_hashes_with_their_rules(tmp_path: Path) -> None:
    keys = ApiKeys(tmp_path)
    made = [
        keys.new("a", 7, Units(5), "day", 2, ("m",)),
        keys.new("b", 7),
    ]
    path = tmp_path / FILE_NAME
    assert not any(secret in path.read_text() for secret in made)
    assert path.stat().st_mode & 0o777 == 0o600
    first, second = ApiKeys(tmp_path).list()
    assert (first.budget, first.per, first.expires_at) == (5, "day", 7 + 2 * DAY)
    assert first.may_call("m") and not first.may_call("n") and second.may_call("n")
    assert keys.opened_by(made[0], 7 + 2 * DAY - 1) == first
    assert keys.opened_by(made[0], 7 + 2 * DAY) is None
    assert keys.opened_by(made[1][:-1], 8) is None and keys.opened_by("", 8) is None
    for arguments in (
        ("a", 7),
        ("", 7),
        ("x" * 33, 7),
        ("c", 7, Units(0)),
        ("c", 7, None, "day", 0),
    ):
        with pytest.raises(UsageError):
            keys.new(*arguments)  # type: ignore[arg-type]
    keys.revoke("a")
    assert ApiKeys(tmp_path).list() == (second,)
    again = keys.new("a", 8)
    assert keys.opened_by(again, 9) != first  # another id: it starts at nothing
    with pytest.raises(UsageError, match="no key"):
        keys.revoke("c")


def test_a_key_gets_another_budget_and_is_otherwise_the_same(tmp_path: Path) -> None:
    keys = ApiKeys(tmp_path)
    secret = keys.new("a", 7, Units(5), "day", 2, ("m",))
    keys.new("b", 7)
    before, other = keys.list()
    assert keys.limit("a", Units(9)) == msgspec.structs.replace(before, budget=Units(9))
    assert keys.limit("a", None, "period").per == "period"
    after = keys.opened_by(secret, 8)
    assert after == msgspec.structs.replace(before, budget=None, per="period")
    assert keys.list() == (after, other)
    with pytest.raises(UsageError, match="no key"):
        keys.limit("c", Units(9))
    with pytest.raises(UsageError, match="more than nothing"):
        keys.limit("a", Units(0))


def test_a_damaged_file_of_keys_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("[{]")
    (tmp_path / FILE_NAME).chmod(0o600)
    with pytest.raises(ConfigurationError, match="damaged"):
        ApiKeys(tmp_path).opened_by("x", 0)
