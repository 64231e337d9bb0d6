"""What the stored answers of all runs say together: for statistics, and for estimates."""

from typing import Final

from sqlalchemy import and_, func
from sqlalchemy import select as columns
from sqlmodel import col

from ricochet_orchestrator.checkpoint import Kind, Seen
from ricochet_orchestrator.statistics import Use
from ricochet_orchestrator.store import Store
from ricochet_orchestrator.tables import AnswerRow, RunRow, StepRow
from ricochet_protocol.ids import ModelId

_PAID_STEP: Final = and_(
    col(StepRow.run) == col(AnswerRow.run), col(StepRow.id) == col(AnswerRow.step)
)


def uses(store: Store) -> tuple[Use, ...]:
    """Every answer that was paid for, of all runs, with what it was for."""
    names = (
        "peer",
        "completed_at",
        "tokens_in",
        "tokens_out",
        "cost",
        "first_token",
        "seconds",
    )
    query = (
        columns(
            col(StepRow.name).label("step"),
            col(StepRow.role),
            col(StepRow.model),
            col(StepRow.attempts),
            col(RunRow.chain),
            *(getattr(AnswerRow, name) for name in names),
        )
        .join(AnswerRow, _PAID_STEP)
        .join(RunRow, col(RunRow.id) == col(StepRow.run))
    )
    with store.reading() as session:
        rows = session.connection().execute(query).mappings()
        return tuple(Use(**dict(row)) for row in rows)


def history(store: Store) -> dict[Kind, Seen]:
    """What answers were like so far, by chain step, model and limit."""
    query = (
        columns(
            col(StepRow.name),
            col(StepRow.model),
            col(StepRow.max_tokens),
            func.avg(AnswerRow.tokens_out),
            func.min(AnswerRow.tokens_out),
            func.avg(AnswerRow.seconds),
        )
        .join(AnswerRow, _PAID_STEP)
        .group_by(col(StepRow.name), col(StepRow.model), col(StepRow.max_tokens))
    )
    with store.reading() as session:
        return {
            Kind(name, ModelId(model), limit): Seen(float(mean), int(least), float(seconds))
            for name, model, limit, mean, least, seconds in session.connection().execute(query)
        }
