"""Speed: `python -m benchmarks.orchestrator.speed [TOKENS]`. Prints JSON.

A document of 50,000 tokens over nodes with 8 slots in all, whose every call takes two seconds: the
run's time on a virtual clock, which holds every wait of the engine, against the ideal schedule of
the same calls; and the engine's own time by the real clock of the process, nodes included, since
they run in it. Then a document of TOKENS (one million) for time a call and memory.
"""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "orchestrator")]

import msgspec  # noqa: E402
from orchestrator_stage import MAPPED, SHORT, Stage, numbered, play  # noqa: E402

from ricochet_orchestrator.chain_language import Chain  # noqa: E402
from ricochet_orchestrator.document import Document, document_from  # noqa: E402
from ricochet_protocol.tokens import count_tokens  # noqa: E402
from twins.scripted_node import OFFER  # noqa: E402

SLOTS = 8
THINK = 2.0


def text_of(tokens: int) -> Document:
    """Paragraphs of words, about so many tokens in all."""
    paragraph = "A short sentence of the plain kind stands here again. " * 20
    number = -(-tokens // count_tokens(paragraph))
    return document_from("long", "\n\n".join(f"{n}. {paragraph}" for n in range(number)))


def stage_at(home: Path) -> Stage:
    """Two proven nodes with four slots each."""
    stage = Stage(home)
    offer = msgspec.structs.replace(OFFER, context=8192, slots=SLOTS // 2)
    for number in range(2):
        stage.node(number, think=THINK, offers=(offer,))
    # Strangers get one call at a time: the nodes prove themselves on another document first.
    play(stage, numbered(24, words=120), Chain("warm", (MAPPED,)))
    for _ in range(4):
        play(stage, numbered(30 + _, words=6000), Chain("warm", (MAPPED,)))
    return stage


def measure(home: Path, tokens: int) -> dict[str, object]:
    """One document through map and reduce."""
    stage = stage_at(home)
    document = text_of(tokens)
    before = time.process_time()
    result = play(stage, document, SHORT)
    spent = time.process_time() - before
    waves = -(-(result.calls - 1) // SLOTS)
    ideal = (waves + 1) * THINK
    return {
        "tokens": count_tokens(document.text),
        "calls": result.calls,
        "wall_seconds": round(result.seconds, 2),
        "ideal_seconds": ideal,
        "percent_of_ideal": round(100 * ideal / result.seconds, 1),
        "cpu_ms_per_call": round(1000 * spent / result.calls, 2),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        document = {
            "bare_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "fifty_thousand": measure(Path(name) / "small", 50_000),
            "long": measure(Path(name) / "long", tokens),
            "load": os.getloadavg()[0],
        }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
