"""Cost: `python -m benchmarks.orchestrator.cost`. Prints JSON.

The sum of usage in a run's result against what the scripted providers counted, unit for unit; a dry
run's estimate against what the run then costs, cold and with history; and runs under caps, with
nodes that fail and keep what was signed ahead: what nodes say is due never passes the cap.
"""

import hashlib
import json
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "orchestrator")]

from orchestrator_stage import OVERVIEW, SHORT, Stage, costs, numbered, on, play  # noqa: E402

from ricochet_orchestrator.chain_language import Chain  # noqa: E402
from ricochet_orchestrator.document import Document, default_document  # noqa: E402
from ricochet_orchestrator.dry_run import dry_run  # noqa: E402
from ricochet_orchestrator.estimate import Estimate  # noqa: E402
from ricochet_orchestrator.request import Options, request_for  # noqa: E402
from ricochet_protocol.errors import BudgetError  # noqa: E402
from ricochet_protocol.messages import Ask  # noqa: E402
from ricochet_protocol.money import Units, cost  # noqa: E402
from ricochet_protocol.tokens import count_texts, count_tokens  # noqa: E402
from twins.scripted_node import OFFER, Fault, echo  # noqa: E402


def steady(ask: Ask) -> str:
    """55 to 65 % of the limit, by the prompt alone."""
    seed = hashlib.sha256(ask.turns[-1].content.encode()).digest()[0]
    return "word " * (ask.max_tokens * (55 + seed % 11) // 100) + "end."


def estimated(stage: Stage, document: Document, chain: Chain) -> Estimate:
    async def scene() -> Estimate:
        async with stage.setting() as setting:
            return await dry_run(setting, request_for(document, chain, Options()), document)

    return on(stage, scene)


def usage(home: Path) -> dict[str, object]:
    """The result's sums against the providers' own counts of every call."""
    counted = {"tokens_in": 0, "tokens_out": 0, "cost": 0, "calls": 0}

    def answer(ask: Ask) -> str:
        text = echo(ask)
        tokens_in, tokens_out = count_texts(ask.texts()), count_tokens(text)
        counted["tokens_in"] += tokens_in
        counted["tokens_out"] += tokens_out
        counted["cost"] += cost(tokens_in, tokens_out, OFFER.price_in, OFFER.price_out)
        counted["calls"] += 1
        return text

    stage = Stage(home)
    for number in range(3):
        stage.node(number, answer=answer)
    result = play(stage, default_document(), OVERVIEW)
    said = {name: getattr(result, name) for name in counted}
    return {"upstream": counted, "result": said, "equal": counted == said}


def estimates(home: Path) -> list[dict[str, object]]:
    """Cold, and with the history of another document, for two chains."""
    rows = []
    for name, chain in (("short", SHORT), ("overview", OVERVIEW)):
        for answer, kind in ((steady, "steady"), (echo, "echo")):
            stage = Stage(home / f"{name}-{kind}")
            for number in range(3):
                stage.node(number, answer=answer)
            if kind == "echo":
                play(stage, numbered(4), chain)
            found = estimated(stage, default_document(), chain)
            real = play(stage, default_document(), chain).cost
            rows.append(
                {
                    "chain": name,
                    "basis": "history" if kind == "echo" else "none",
                    "estimate": found.cost,
                    "range": [found.cost_low, found.cost_high],
                    "real": real,
                    "error_percent": round(100 * (found.cost - real) / real, 2),
                    "in_range": found.cost_low <= real <= found.cost_high,
                }
            )
    return rows


def caps(home: Path) -> dict[str, object]:
    """Runs under caps, with every kind of failure that keeps money."""
    free = Stage(home / "free")
    free.node(0)
    whole = play(free, numbered(6)).cost
    runs = passed = 0
    for percent in range(5, 100, 10):
        for fault in (None, Fault.TAKES_THE_ADVANCE, Fault.DIES_AFTER_FIRST_TOKEN, Fault.ENDLESS):
            stage = Stage(home / f"{percent}-{fault and fault.name}")
            for number in range(2):
                stage.node(number)
            if fault is not None:
                stage.nodes[0].faults.extend([fault, None, fault])
            cap = Units(whole * percent // 100)
            with suppress(BudgetError):
                play(stage, numbered(6), options=Options(max_cost=cap))
            runs += 1
            passed += costs(stage.nodes) > cap
    return {"runs": runs, "caps_passed": passed}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        rows = estimates(home / "estimates")
        document = {
            "usage": usage(home / "usage"),
            "estimates": rows,
            "estimates_within_5_percent": all(
                abs(float(str(r["error_percent"]))) <= 5 for r in rows
            ),
            "caps": caps(home / "caps"),
            "load": os.getloadavg()[0],
        }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
