"""The compiled contracts on a bare EVM state in memory: no blocks, no gas price, a clock to set.

A message costs about 3 ms and a view 0.4 ms, a tenth of what a mined transaction costs. The state
is py-evm's Cancun, the fork that the contracts are compiled for.

A view is a function of the storage and the clock it reads, so its answer is kept until a message
writes one of those slots: comparing every account after every message would take ten times as long
otherwise. A slot that a refused message wrote counts as written, which only costs a second look.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eth.abc import ComputationAPI
from eth.constants import BLANK_ROOT_HASH, ZERO_ADDRESS
from eth.db.atomic import AtomicDB
from eth.exceptions import Revert
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.cancun.state import CancunState
from eth.vm.message import Message
from eth_abi.abi import decode, encode

from ricochet_protocol.signing import keccak256
from ricochet_settlement.artifact import ContractName, artifact

CHAIN_ID = 31337
_GAS = 30_000_000
_PANIC = {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]}


class Reverted(Exception):
    """The contract refused: the error's name and values."""

    def __init__(self, name: str, values: tuple[Any, ...]) -> None:
        super().__init__(f"{name}{values}")
        self.error = (name, *values)


@dataclass(frozen=True)
class Event:
    """A log entry of the contract under test."""

    name: str
    values: tuple[Any, ...]


_NOBODY = "0x" + "00" * 20
Slot = tuple[bytes, int]
_TIME: Slot = (b"the clock", 0)
"""Stands for the block's timestamp among the slots that a view reads."""


class _Clock(ExecutionContext):
    """A block's surroundings with a time that can be set."""

    now: int = 0
    reads: set[Slot]

    @property
    def timestamp(self) -> int:
        self.reads.add(_TIME)
        return self.now


class _State(CancunState):
    """Notes which storage slots a message reads and writes."""

    reads: set[Slot]
    writes: set[Slot]

    def get_storage(self, address: bytes, slot: int, from_journal: bool = True) -> int:
        self.reads.add((address, slot))
        return super().get_storage(address, slot, from_journal)

    def set_storage(self, address: bytes, slot: int, value: int) -> None:
        self.writes.add((address, slot))
        super().set_storage(address, slot, value)


@dataclass
class _Kept:
    """A view's answer, and what it depends on."""

    answer: Any
    slots: frozenset[Slot]


class Contract:
    """One kind of contract: how to call it, and what its answers mean. Addresses are lower case."""

    def __init__(self, name: ContractName) -> None:
        compiled = artifact(name)
        self.code = bytes.fromhex(compiled.bytecode.removeprefix("0x"))
        entries = [*compiled.abi, _PANIC]
        self._functions = {e["name"]: e for e in entries if e["type"] == "function"}
        self._errors = {_selector(e): e for e in entries if e["type"] == "error"}
        self._events = {_topic(e): e for e in entries if e["type"] == "event"}
        self._constructor = next(e for e in entries if e["type"] == "constructor")

    @cached_property
    def functions(self) -> frozenset[str]:
        """Every name that can be called."""
        return frozenset(self._functions)

    @cached_property
    def writes(self) -> frozenset[str]:
        """The names of functions that may change the state."""
        return frozenset(
            name
            for name, entry in self._functions.items()
            if entry["stateMutability"] not in ("view", "pure")
        )

    @cached_property
    def errors(self) -> frozenset[str]:
        """Every declared error."""
        return frozenset(entry["name"] for entry in self._errors.values())

    def creation(self, *arguments: object) -> bytes:
        return self.code + encode(_types(self._constructor["inputs"]), arguments)

    def call(self, name: str, *arguments: object) -> bytes:
        entry = self._functions[name]
        return _selector(entry) + encode(_types(entry["inputs"]), arguments)

    def result(self, name: str, data: bytes) -> Any:
        """The one value that a view returns."""
        return decode(_types(self._functions[name]["outputs"]), data)[0]

    def refusal(self, data: bytes) -> Reverted:
        entry = self._errors[data[:4]]
        return Reverted(entry["name"], decode(_types(entry["inputs"]), data[4:]))

    def event(self, topics: tuple[int, ...], data: bytes) -> Event:
        entry = self._events[topics[0].to_bytes(32, "big")]
        words = iter(topics[1:])
        plain = iter(decode([_type(i) for i in entry["inputs"] if not i["indexed"]], data))
        values = (
            decode([_type(i)], next(words).to_bytes(32, "big"))[0] if i["indexed"] else next(plain)
            for i in entry["inputs"]
        )
        return Event(entry["name"], tuple(values))


class Evm:
    """Accounts, contracts and a clock. Every sender has all the gas it needs."""

    def __init__(self, now: int) -> None:
        self._clock = _Clock(ZERO_ADDRESS, now, 1, 0, b"\0" * 32, _GAS, (), CHAIN_ID, 0, 0)
        self._clock.now, self._clock.reads = now, set()
        # Unlike a VM, a state needs no chain around it.
        self._state = _State(AtomicDB(), self._clock, BLANK_ROOT_HASH)
        self._state.reads, self._state.writes = self._clock.reads, set()
        self._kinds: dict[str, Contract] = {}
        self._kept: dict[tuple[Any, ...], _Kept] = {}

    @property
    def now(self) -> int:
        return self._clock.now

    @now.setter
    def now(self, timestamp: int) -> None:
        self._clock.now = timestamp
        self._forget({_TIME})

    def snapshot(self) -> Any:
        """A mark to which `revert` can return once."""
        return self._state.snapshot(), self.now, dict(self._kept)

    def revert(self, mark: Any) -> None:
        """Accounts and clock as they were."""
        snapshot, self._clock.now, self._kept = mark
        self._state.revert(snapshot)

    def create(self, kind: Contract, at: str, *arguments: object) -> None:
        """Run the constructor, at an address of the caller's choice."""
        message = Message(
            gas=_GAS,
            to=b"",
            sender=ZERO_ADDRESS,
            value=0,
            data=b"",
            code=kind.creation(*arguments),
            create_address=_raw(at),
        )
        context = self._state.transaction_context_class(gas_price=0, origin=ZERO_ADDRESS)
        done = self._state.computation_class.apply_create_message(self._state, message, context)
        done.raise_if_error()
        self._kinds[at] = kind

    def write(self, sender: str, to: str, name: str, *arguments: object) -> list[Event]:
        """What the called contract itself logged; Reverted when it refused."""
        kind = self._kinds[to]
        self._state.writes.clear()
        done = self._apply(sender, to, kind.call(name, *arguments))
        self._forget(self._state.writes)
        if done.is_error and isinstance(done.error, Revert):
            raise self._refusal(kind, bytes(done.output))
        done.raise_if_error()
        logs = [log for log in done.get_log_entries() if log[0] == _raw(to)]
        return [kind.event(topics, data) for _, topics, data in logs]

    def view(self, to: str, name: str, *arguments: object) -> Any:
        """The answer to a call that cannot fail."""
        key = (to, name, *arguments)
        kept = self._kept.get(key)
        if kept is None:
            kind = self._kinds[to]
            self._state.reads.clear()
            done = self._apply(_NOBODY, to, kind.call(name, *arguments))
            done.raise_if_error()
            answer = kind.result(name, bytes(done.output))
            kept = self._kept[key] = _Kept(answer, frozenset(self._state.reads))
        return kept.answer

    def _forget(self, changed: set[Slot]) -> None:
        self._kept = {k: v for k, v in self._kept.items() if v.slots.isdisjoint(changed)}

    def _apply(self, sender: str, to: str, data: bytes) -> ComputationAPI:
        code = self._state.get_code(_raw(to))
        message = Message(gas=_GAS, to=_raw(to), sender=_raw(sender), value=0, data=data, code=code)
        context = self._state.transaction_context_class(gas_price=0, origin=_raw(sender))
        done = self._state.computation_class.apply_message(self._state, message, context)
        self._state.clear_transient_storage()
        return done

    def _refusal(self, kind: Contract, data: bytes) -> Reverted:
        # A refusal may come from a contract further in, such as the token.
        for candidate in (kind, *self._kinds.values()):
            try:
                return candidate.refusal(data)
            except KeyError:
                continue
        raise AssertionError(f"an undeclared error: 0x{data.hex()}")


def _raw(account: str) -> bytes:
    return bytes.fromhex(account.removeprefix("0x"))


def _type(field: dict[str, Any]) -> str:
    if not field["type"].startswith("tuple"):
        return str(field["type"])
    inner = ",".join(_types(field["components"]))
    return f"({inner}){field['type'].removeprefix('tuple')}"


def _types(fields: list[dict[str, Any]]) -> list[str]:
    return [_type(field) for field in fields]


def _signature(entry: dict[str, Any]) -> bytes:
    return f"{entry['name']}({','.join(_types(entry['inputs']))})".encode()


def _selector(entry: dict[str, Any]) -> bytes:
    return bytes(keccak256(_signature(entry))[:4])


def _topic(entry: dict[str, Any]) -> bytes:
    return bytes(keccak256(_signature(entry)))
