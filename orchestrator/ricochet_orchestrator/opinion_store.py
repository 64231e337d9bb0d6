"""Opinions and breakers of peers in `runs.db`, so that a run begins with what earlier ones learnt.

They are opinions, not accounts: two runs in one home may overwrite each other's newest observation,
and one that is killed loses what it learnt in its last seconds. A wait that a peer asked for is
written at once, because it binds the next process too. Times here are Unix seconds.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from sqlmodel import insert, select

from ricochet_orchestrator.breaker import Breaker
from ricochet_orchestrator.opinion import Opinion
from ricochet_orchestrator.store import Store
from ricochet_orchestrator.tables import BreakerRow, OpinionRow
from ricochet_protocol.ids import ModelId, PeerId

_encode = msgspec.json.Encoder().encode
_opinion: Final = msgspec.json.Decoder(Opinion)
_breaker: Final = msgspec.json.Decoder(Breaker)

Opinions = dict[tuple[PeerId, ModelId], Opinion]


def opinions(store: Store) -> Opinions:
    """All that is believed, as it was when it was learnt."""
    with store.transaction() as session:
        rows = session.exec(select(OpinionRow)).all()
        return {
            (PeerId(row.peer), ModelId(row.model)): _opinion.decode(row.opinion) for row in rows
        }


def breakers(store: Store) -> dict[PeerId, Breaker]:
    """The breakers that are not closed, or have a wait."""
    with store.transaction() as session:
        rows = session.exec(select(BreakerRow)).all()
        return {PeerId(row.peer): _breaker.decode(row.breaker) for row in rows}


def keep(
    store: Store,
    learnt: Mapping[tuple[PeerId, ModelId], Opinion],
    states: Mapping[PeerId, Breaker],
) -> None:
    """Write these over what was there."""
    learnt_rows = [
        {"peer": peer, "model": model, "opinion": _encode(opinion).decode()}
        for (peer, model), opinion in learnt.items()
    ]
    state_rows = [
        {"peer": peer, "breaker": _encode(breaker).decode()} for peer, breaker in states.items()
    ]
    with store.transaction() as session:
        # Core inserts: as mapped objects the same rows take ten times as long.
        if learnt_rows:
            session.execute(insert(OpinionRow).prefix_with("OR REPLACE"), learnt_rows)
        if state_rows:
            session.execute(insert(BreakerRow).prefix_with("OR REPLACE"), state_rows)
