"""The tables of `runs.db` and the numbered migrations that make them.

A step's answer, its receipt and the voucher that paid for it are one row: they are written together
or not at all. Migrations are only ever appended; a test holds them and the classes together. The
tables have a registry of their own, because other programs in a process may use the library too.
"""

from typing import ClassVar, Final

from sqlalchemy import Column
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from ricochet_orchestrator.text_seal import SealedBytes, SealedText


class _Base(SQLModel, registry=registry()):
    """Base of this file's tables."""


class RunRow(_Base, table=True):
    __tablename__: ClassVar[str] = "runs"

    id: str = Field(primary_key=True)
    key: str = Field(index=True)
    document: str
    chain: str
    model: str
    windows: str
    status: str
    created_at: float
    outputs: str
    seconds: float
    sources: str = "[]"
    cites: bool = False
    digest: str = ""
    request: bytes | None = Field(
        default=None, sa_column=Column(SealedBytes("request"), nullable=True)
    )
    wish: str = "run"
    worker: str = ""
    error: str = ""
    lost: int = 0
    passages: str = "[]"


class StepRow(_Base, table=True):
    __tablename__: ClassVar[str] = "steps"

    run: str = Field(primary_key=True, foreign_key="runs.id")
    id: str = Field(primary_key=True)
    position: int
    name: str
    role: str
    model: str
    status: str
    peer: str | None = None
    advert: bytes | None = None
    attempts: int = 0
    error: str = ""
    started_at: float | None = None
    completed_at: float | None = None
    inputs: str = "[]"
    segments: str = "[]"
    slot: str = ""
    attempt: int = 0
    max_tokens: int = 0


class DocumentRow(_Base, table=True):
    """A document, encoded, by its digest."""

    __tablename__: ClassVar[str] = "documents"

    sha256: str = Field(primary_key=True)
    document: bytes = Field(sa_column=Column(SealedBytes("document"), nullable=False))


class AnswerRow(_Base, table=True):
    __tablename__: ClassVar[str] = "answers"

    step: str = Field(primary_key=True)
    run: str = Field(index=True)
    text: str = Field(sa_column=Column(SealedText("answer"), nullable=False))
    finish: str
    peer: str
    operator: str
    period: int
    tokens_in: int
    tokens_out: int
    exact: bool
    cost: int
    first_token: float
    seconds: float
    receipt: bytes
    advert: bytes
    voucher: bytes
    completed_at: float


class AccountRow(_Base, table=True):
    __tablename__: ClassVar[str] = "accounts"

    node: str = Field(primary_key=True)
    period: int = Field(primary_key=True)
    reserved: int = 0
    committed: int = 0
    accepted: int = 0
    acknowledged: int = 0
    answers: int = 0
    voucher: bytes | None = None
    billed: int = 0
    counted: int = 0


class OpinionRow(_Base, table=True):
    __tablename__: ClassVar[str] = "opinions"

    peer: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    opinion: str


class BreakerRow(_Base, table=True):
    __tablename__: ClassVar[str] = "breakers"

    peer: str = Field(primary_key=True)
    breaker: str


class CallRow(_Base, table=True):
    """One call through the API; the columns after `advert` are there once it is answered."""

    __tablename__: ClassVar[str] = "calls"

    id: str = Field(primary_key=True)
    key: str = Field(index=True)
    model: str
    request: str
    period: int
    created_at: float
    status: str
    held: int = 0
    charged: int = 0
    max_tokens: int = 0
    conflicts: int = 0
    peer: str | None = None
    advert: bytes | None = None
    operator: str = ""
    answer: bytes | None = Field(default=None, sa_column=Column(SealedBytes("call"), nullable=True))
    cost: int = 0
    receipt: bytes | None = None
    voucher: bytes | None = None
    completed_at: float = 0.0


class PlaceholderRow(_Base, table=True):
    """What a placeholder in texts stands for."""

    __tablename__: ClassVar[str] = "placeholders"

    placeholder: str = Field(primary_key=True)
    value: str = Field(sa_column=Column(SealedText("placeholder"), nullable=False))


class SealRow(_Base, table=True):
    """How the key of the sealed columns is kept: one row in a file that is sealed, else none."""

    __tablename__: ClassVar[str] = "seal"

    id: int = Field(primary_key=True)
    record: bytes


SEALED: Final = (
    (RunRow, "request"),
    (DocumentRow, "document"),
    (AnswerRow, "text"),
    (CallRow, "answer"),
    (PlaceholderRow, "value"),
)
"""Columns that are content."""

METADATA: Final = _Base.metadata

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE runs (
            id VARCHAR NOT NULL PRIMARY KEY, key VARCHAR NOT NULL, document VARCHAR NOT NULL,
            chain VARCHAR NOT NULL, model VARCHAR NOT NULL, windows VARCHAR NOT NULL,
            status VARCHAR NOT NULL, created_at FLOAT NOT NULL, outputs VARCHAR NOT NULL,
            seconds FLOAT NOT NULL)""",
        "CREATE INDEX ix_runs_key ON runs (key)",
        """CREATE TABLE steps (
            run VARCHAR NOT NULL REFERENCES runs (id), id VARCHAR NOT NULL,
            position INTEGER NOT NULL, name VARCHAR NOT NULL, role VARCHAR NOT NULL,
            model VARCHAR NOT NULL, status VARCHAR NOT NULL, peer VARCHAR, advert BLOB,
            attempts INTEGER NOT NULL, error VARCHAR NOT NULL, started_at FLOAT,
            completed_at FLOAT, PRIMARY KEY (run, id))""",
        """CREATE TABLE answers (
            step VARCHAR NOT NULL PRIMARY KEY, run VARCHAR NOT NULL, text VARCHAR NOT NULL,
            finish VARCHAR NOT NULL, peer VARCHAR NOT NULL, operator VARCHAR NOT NULL,
            period INTEGER NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,
            exact BOOLEAN NOT NULL, cost INTEGER NOT NULL, first_token FLOAT NOT NULL,
            seconds FLOAT NOT NULL, receipt BLOB NOT NULL, advert BLOB NOT NULL,
            voucher BLOB NOT NULL, completed_at FLOAT NOT NULL)""",
        "CREATE INDEX ix_answers_run ON answers (run)",
        """CREATE TABLE accounts (
            node VARCHAR NOT NULL, period INTEGER NOT NULL, reserved INTEGER NOT NULL,
            committed INTEGER NOT NULL, accepted INTEGER NOT NULL, acknowledged INTEGER NOT NULL,
            answers INTEGER NOT NULL, voucher BLOB, PRIMARY KEY (node, period))""",
    ),
    (
        "ALTER TABLE accounts ADD COLUMN billed INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE accounts ADD COLUMN counted INTEGER NOT NULL DEFAULT 0",
    ),
    (
        """CREATE TABLE opinions (
            peer VARCHAR NOT NULL, model VARCHAR NOT NULL, opinion VARCHAR NOT NULL,
            PRIMARY KEY (peer, model))""",
        "CREATE TABLE breakers (peer VARCHAR NOT NULL PRIMARY KEY, breaker VARCHAR NOT NULL)",
    ),
    (
        "ALTER TABLE runs ADD COLUMN sources VARCHAR NOT NULL DEFAULT '[]'",
        "ALTER TABLE runs ADD COLUMN cites BOOLEAN NOT NULL DEFAULT 0",
        "ALTER TABLE steps ADD COLUMN inputs VARCHAR NOT NULL DEFAULT '[]'",
        "ALTER TABLE steps ADD COLUMN segments VARCHAR NOT NULL DEFAULT '[]'",
        "ALTER TABLE steps ADD COLUMN slot VARCHAR NOT NULL DEFAULT ''",
        "ALTER TABLE steps ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0",
    ),
    (
        "ALTER TABLE runs ADD COLUMN digest VARCHAR NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN request BLOB",
        "ALTER TABLE runs ADD COLUMN wish VARCHAR NOT NULL DEFAULT 'run'",
        "ALTER TABLE runs ADD COLUMN worker VARCHAR NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN error VARCHAR NOT NULL DEFAULT ''",
        "ALTER TABLE steps ADD COLUMN max_tokens INTEGER NOT NULL DEFAULT 0",
        "CREATE TABLE documents (sha256 VARCHAR NOT NULL PRIMARY KEY, document BLOB NOT NULL)",
    ),
    (
        """CREATE TABLE calls (
            id VARCHAR NOT NULL PRIMARY KEY, "key" VARCHAR NOT NULL, model VARCHAR NOT NULL,
            request VARCHAR NOT NULL, period INTEGER NOT NULL, created_at FLOAT NOT NULL,
            status VARCHAR NOT NULL, held INTEGER NOT NULL, charged INTEGER NOT NULL,
            max_tokens INTEGER NOT NULL, conflicts INTEGER NOT NULL, peer VARCHAR, advert BLOB,
            operator VARCHAR NOT NULL, answer BLOB, cost INTEGER NOT NULL, receipt BLOB,
            voucher BLOB, completed_at FLOAT NOT NULL)""",
        'CREATE INDEX ix_calls_key ON calls ("key")',
    ),
    (
        """CREATE TABLE placeholders (
            placeholder VARCHAR NOT NULL PRIMARY KEY, value VARCHAR NOT NULL)""",
        "CREATE TABLE seal (id INTEGER NOT NULL PRIMARY KEY, record BLOB NOT NULL)",
    ),
    ("ALTER TABLE runs ADD COLUMN lost INTEGER NOT NULL DEFAULT 0",),
    ("ALTER TABLE runs ADD COLUMN passages VARCHAR NOT NULL DEFAULT '[]'",),
)
