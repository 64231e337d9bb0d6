"""What models say about tasks: one run of a built-in chain, a file of its document for each task.

Runs are ordinary ones: routed, checked, paid, capped, kept by content, shown by `chain runs`. The
answer to a text is found by its step, so a text without an answer leaves the others in place.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ricochet_orchestrator import chains
from ricochet_orchestrator.app import Options, RunResult, Task
from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.checkpoint import STORE_FILE
from ricochet_orchestrator.document import Document, document_of, part_of
from ricochet_orchestrator.tasks.book import Item, Place
from ricochet_protocol.errors import ExitCode, RicochetError
from ricochet_protocol.ids import ModelId
from ricochet_protocol.money import Units

_CHAINS: Final = Path(__file__).parent / "chains"
Runner = Callable[[Task], Awaitable[RunResult]]
"""Does a run to its end; whoever gives it shows progress and can stop it."""


class Reply(msgspec.Struct, frozen=True):
    """The answer to one text, None if there is none; `failure` says why. `cut`: it ended for its
    length. `cost` is what this run paid."""

    text: str | None
    failure: str = ""
    model: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    duration_ms: int = 0
    cost: Units = Units(0)
    cut: bool = False


class AskingError(RicochetError):
    """Models gave no answer that could be used; what they gave is kept and paid once."""

    exit_code = ExitCode.PARTIAL


def chain_for(name: str, role: str | None = None, model: str | None = None) -> Chain:
    """A built-in chain for tasks, for another role or a model."""
    chain = chains.read(_CHAINS / f"{name}.yaml")
    step = chain.last
    step = msgspec.structs.replace(
        step, role=role or step.role, model=None if model is None else ModelId(model)
    )
    return msgspec.structs.replace(chain, steps=(step,))


async def ask_each(
    home: Path, chain: Chain, texts: Sequence[tuple[str, str]], cap: Units | None, run: Runner
) -> tuple[RunResult, list[Reply]]:
    """Ask about each of these texts, given with their names; they must differ."""
    result, replies = await ask(home, chain, document_for(texts), cap, run)
    missing = len(texts) - len(replies)
    return result, [*replies, *[Reply(None, "the run was stopped before it")] * missing]


def document_for(texts: Sequence[tuple[str, str]]) -> Document:
    """A document with a file for each text."""
    parts = (part_of(_encodable(name), _encodable(text)) for name, text in texts)
    return document_of("tasks", tuple(parts))


async def ask(
    home: Path, chain: Chain, document: Document, cap: Units | None, run: Runner
) -> tuple[RunResult, list[Reply]]:
    """Run a chain of one step over a document; its answers in order. Any RicochetError."""
    result = await run(Task(document, chain, Options(max_cost=cap)))
    return result, _replies(home, result.run_id, checked=chain.last.checked)


def _replies(home: Path, run_id: str, checked: bool) -> list[Reply]:
    from ricochet_orchestrator.store import Store

    store = Store(home / STORE_FILE)
    try:
        run, steps, answers = store.run(run_id), store.steps(run_id), store.answers(run_id)
    finally:
        store.close()
    passed = set(() if run is None else run.outputs)
    replies = []
    for first in (step for step in steps if not step.attempt):
        attempts = [step for step in steps if (step.slot or step.id) == first.id]
        good = next(
            (one for one in attempts if one.id in answers and (one.id in passed or not checked)),
            None,
        )
        if good is None:
            replies.append(Reply(None, attempts[-1].error or "no answer yet"))
            continue
        answer = answers[good.id]
        replies.append(
            Reply(
                text=answer.text.strip(),
                model=good.model,
                tokens_in=answer.tokens_in,
                tokens_out=answer.tokens_out,
                duration_ms=round(answer.seconds * 1000),
                cost=answer.cost if answer.run == run_id else Units(0),
                cut=answer.finish == "length",
            )
        )
    return replies


def _encodable(text: str) -> str:
    """JSON can hold halves of characters, which no text of a model can; they are spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def described(place: Place) -> str:
    """A task for a model; its name makes each text one of a kind."""
    item: Item = place.item
    lines = [f"Task {place.ref}: {item['title']}"]
    if place.parent is not None:
        lines.append(f"It is a part of: {place.parent['title']}")
    lines += [item[name] for name in ("description", "details") if item.get(name)]
    if item.get("testStrategy"):
        lines.append(f"It is done when: {item['testStrategy']}")
    return "\n\n".join(lines)
