"""A transaction on its way to the chain, and the states it passes through.

    queued ──► sent ──► confirmed        queued: written down, no nonce yet
      │  ▲      │  ▲        │            sent: has a nonce, was given to the chain or may have been
      │  └──────┤  └────────┘ (reorg)    stuck: sent, not mined in time; `why` says what is done
      │         ▼                        confirmed: mined, and it did what it should
      │       stuck ──► confirmed        failed: it will not happen; `why` says the reason
      ▼         ▼
    failed ◄────┘

A transaction that may have reached the chain keeps its nonce until the chain shows what used that
nonce: only one transaction can, so an intent never lands twice. It goes back to `queued` only when
another transaction was seen to use it.
"""

from enum import StrEnum
from typing import Final

import msgspec

from ricochet_protocol.errors import BudgetError, ChainError, RicochetError
from ricochet_protocol.ids import Address

NO_GAS_MONEY: Final = "no_gas_money"


class Status(StrEnum):
    """Where a transaction stands; see the module."""

    QUEUED = "queued"
    SENT = "sent"
    STUCK = "stuck"
    CONFIRMED = "confirmed"
    FAILED = "failed"


MOVES: Final[dict[Status, frozenset[Status]]] = {
    Status.QUEUED: frozenset({Status.SENT, Status.FAILED}),
    Status.SENT: frozenset({Status.STUCK, Status.CONFIRMED, Status.FAILED, Status.QUEUED}),
    Status.STUCK: frozenset({Status.STUCK, Status.CONFIRMED, Status.FAILED, Status.QUEUED}),
    Status.CONFIRMED: frozenset({Status.SENT}),
    # Only when the chain refused it and mined it all the same.
    Status.FAILED: frozenset({Status.CONFIRMED}),
}


class Intent(msgspec.Struct, frozen=True):
    """What is to happen, before it has a nonce; `to` None creates a contract.

    `key` makes it happen once: an intent of the same key that was not refused is the same
    transaction, however often it is handed in. Without a key it joins an equal one that was left
    unfinished, by a caller that gave up or died, and is a new one otherwise. `label` is for people.
    """

    label: str
    to: Address | None
    data: bytes
    value: int = 0
    key: str | None = None


class Attempt(msgspec.Struct, frozen=True):
    """One signed form of a transaction; its replacements differ in `fee` and `tip`, wei per gas."""

    hash: bytes
    raw: bytes
    gas: int
    fee: int
    tip: int


class Transaction(msgspec.Struct, frozen=True):
    """A row of the queue; `hash` is of the form that was mined, else of the newest that was signed.

    `head` is the newest block when the nonce was taken, so that what used it lies after it. `code`,
    `why` and `hint` are those of the error, or `why` alone tells what a stuck one waits for.
    """

    number: int
    chain: str
    account: Address
    intent: Intent
    status: Status
    nonce: int | None = None
    head: int = 0
    hash: bytes | None = None
    block: int | None = None
    code: str = ""
    why: str = ""
    hint: str = ""
    queued_at: int = 0

    def failure(self) -> RicochetError:
        """The error that a failed transaction ends its callers with."""
        kind = BudgetError if self.code == NO_GAS_MONEY else ChainError
        return kind(self.code, self.why, self.hint)

    def line(self) -> str:
        """One line for a person."""
        parts = [f"{self.intent.label}: {self.status}"]
        if self.hash is not None:
            parts.append(f"0x{self.hash.hex()}")
        if self.block is not None:
            parts.append(f"in block {self.block}")
        return " ".join(parts) + (f" ({self.why})" if self.why else "")
