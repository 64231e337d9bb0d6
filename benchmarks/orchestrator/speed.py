"""Speed: `python -m benchmarks.orchestrator.speed [TOKENS]`. Prints JSON.

A document of 50,000 tokens over nodes with 8 slots in all, whose every call takes two seconds: the
run's time on a virtual clock, which holds every wait of the engine, against the ideal schedule of
the same calls. Then a document of TOKENS (one million), in windows of 8,192 tokens and in small
ones. Each document has a process of its own, whose memory is told, nodes included.

Processor time is the engine's: what nodes spend in the same process is booked apart (`sides`), and
so is the counting of tokens, which depends on the text and on nothing that the engine does with it.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "orchestrator")]

import msgspec  # noqa: E402
from benchmarks.orchestrator.sides import Books, acting_as, run_booked  # noqa: E402
from orchestrator_stage import MAPPED, SHORT, Stage, numbered  # noqa: E402

from ricochet_network.memory_transport import MemoryNetwork, MemoryTransport  # noqa: E402
from ricochet_orchestrator.chain_language import Chain  # noqa: E402
from ricochet_orchestrator.document import Document, document_from  # noqa: E402
from ricochet_orchestrator.remembered_count import RememberedCount  # noqa: E402
from ricochet_orchestrator.result import RunResult  # noqa: E402
from ricochet_protocol.ports import Connection  # noqa: E402
from ricochet_protocol.tokens import count_tokens  # noqa: E402
from twins.scripted_node import OFFER, ScriptedNode  # noqa: E402

SLOTS = 8
THINK = 2.0
WINDOW = 8192
CASES = {"fifty_thousand": WINDOW, "long": WINDOW, "long_in_small_windows": 2304}


class BookedNetwork(MemoryNetwork):
    """Whoever is dialled spends his own time; nodes dial nobody here."""

    def transport(self, seed: bytes, address: str = "") -> MemoryTransport:
        return BookedTransport(self, seed, address or f"/booked/{seed.hex()[:8]}")


class BookedTransport(MemoryTransport):
    def incoming(self, connection: Connection) -> None:
        with acting_as("node"):
            super().incoming(connection)


class Forgetful(ScriptedNode):
    """A node that keeps no calls, so that the memory told is the engine's."""

    async def start(self) -> None:
        self.calls = deque(maxlen=0)  # type: ignore[assignment]  # as a list that stays empty
        with acting_as("node"):
            await super().start()


def text_of(tokens: int) -> Document:
    """Paragraphs of words, about so many tokens in all."""
    paragraph = "A short sentence of the plain kind stands here again. " * 20
    number = -(-tokens // count_tokens(paragraph))
    return document_from("long", "\n\n".join(f"{n}. {paragraph}" for n in range(number)))


def stage_at(home: Path, window: int, books: Books) -> Stage:
    """Two nodes with four slots each, which have proved themselves on another document."""
    stage = Stage(
        home, network=BookedNetwork(), count=RememberedCount(books.counting(count_tokens))
    )
    offer = msgspec.structs.replace(OFFER, context=window, slots=SLOTS // 2)
    for number in range(2):
        seed = bytes([100 + number]) * 32
        node = Forgetful(seed, stage.settlement, stage.network, think=THINK, offers=(offer,))
        node.register()
        stage.nodes.append(node)
    # Strangers get one call at a time.
    played(stage, numbered(24, words=120), Chain("warm", (MAPPED,)), Books())
    for number in range(4):
        played(stage, numbered(30 + number, words=6000), Chain("warm", (MAPPED,)), Books())
    return stage


def played(stage: Stage, document: Document, chain: Chain, books: Books) -> RunResult:
    """The run of a document, its time booked."""

    async def scene() -> RunResult:
        async with stage.up():
            return await stage.play(document, chain)

    return run_booked(scene(), books)


def measure(tokens: int, window: int) -> dict[str, Any]:
    """One document through map and reduce."""
    with tempfile.TemporaryDirectory() as name:
        books = Books()
        stage = stage_at(Path(name), window, books)
        before = dict(books.seconds)
        rest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        result = played(stage, text_of(tokens), SHORT, books)
    waves = -(-(result.calls - 1) // SLOTS)
    ideal = (waves + 1) * THINK
    spent = {name: value - before.get(name, 0.0) for name, value in books.seconds.items()}
    counting = spent["engine counting"]
    return {
        "tokens": tokens,
        "window": window,
        "calls": result.calls,
        "wall_seconds": round(result.seconds, 2),
        "ideal_seconds": ideal,
        "percent_of_ideal": round(100 * ideal / result.seconds, 1),
        "engine_ms_per_call": round(1000 * (spent["engine"] - counting) / result.calls, 2),
        "counting_ms_per_call": round(1000 * counting / result.calls, 2),
        "nodes_ms_per_call": round(1000 * spent["node"] / result.calls, 2),
        "reference_ms": reference(),
        "rss_mb_before": rest,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def reference() -> float:
    """Milliseconds of processor time for a million additions: what the machine is worth now."""
    begin = time.thread_time()
    sum(range(1_000_000))
    return round(1000 * (time.thread_time() - begin), 1)


def apart(tokens: int, window: int) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", __spec__.name, str(tokens), str(window)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=1800)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    if len(sys.argv) > 2:
        print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
        return
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    report: dict[str, Any] = {
        name: apart(50_000 if name == "fifty_thousand" else most, window)
        for name, window in CASES.items()
    }
    print(json.dumps({**report, "load": os.getloadavg()[0]}, indent=2))


if __name__ == "__main__":
    main()
