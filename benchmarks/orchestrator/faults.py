"""Chains over nodes that keep failing: `python -m benchmarks.orchestrator.faults`, JSON on stdout.

    python -m benchmarks.orchestrator.faults [--chains N] [--faults SHARE] [--nodes N] [--block N]

The orchestrator is the product's own, nodes and network are the tests' twins in virtual time. Of
all asks that a node admits, a share fails, each in one of these ways, drawn evenly: its provider's
limit with a `Retry-After` of 40 seconds (429), its provider's failure (500), silence until the
caller's time-out, a reply that is none, and the node's death, from which it is back after 30 s.
Chains (two segments mapped, then joined: three calls each) run one after the other, in blocks that
have a new home and a new network each.

Counted are chains that end completed, calls made for each answer kept (rivals of late calls and
calls to dead nodes included), and asks that came before the wait their node had asked for.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "orchestrator")]

from orchestrator_stage import SHORT, Stage, document_from  # noqa: E402

from ricochet_network.virtual_time import run_virtual  # noqa: E402
from ricochet_orchestrator.checkpoint import RunStatus  # noqa: E402
from ricochet_orchestrator.entering import enter  # noqa: E402
from ricochet_orchestrator.progress import StepFinished, StepRetried, StepStarted  # noqa: E402
from ricochet_orchestrator.request import Options  # noqa: E402
from ricochet_orchestrator.run import work_on  # noqa: E402
from ricochet_protocol.advert import ModelOffer  # noqa: E402
from ricochet_protocol.messages import Ask, Reply  # noqa: E402
from twins.scripted_node import WAIT, Fault, ScriptedNode  # noqa: E402

KINDS = {
    Fault.ASKS_TO_WAIT: "429",
    Fault.PROVIDER_FAILS: "500",
    Fault.GOES_SILENT: "time-out",
    Fault.WRONG_REPLY: "invalid",
    Fault.DIES_BEFORE_FIRST_TOKEN: "death",
}
RETURN = 30.0
"""Seconds after which a dead node is back."""
REFRESH = 300.0
"""Seconds between a node's adverts, which live for ten minutes."""


class Flaky(ScriptedNode):
    """A node of which a share of asks fails."""

    share: ClassVar[float] = 0.0
    chance: ClassVar[random.Random] = random.Random(0)
    injected: ClassVar[Counter[str]] = Counter()

    async def _generate(
        self, ask: Ask, offer: ModelOffer, fault: Fault | None, backing: int
    ) -> AsyncIterator[Reply]:
        if self.chance.random() < self.share:
            fault = self.chance.choice(list(KINDS))
            self.injected[KINDS[fault]] += 1
            if fault is Fault.DIES_BEFORE_FIRST_TOKEN:
                self.dead.set()
        async for reply in super()._generate(ask, offer, fault, backing):
            yield reply

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.dead = asyncio.Event()

    async def tend(self) -> None:
        """Come back after deaths, and advertise."""
        while True:
            try:
                async with asyncio.timeout(REFRESH):
                    await self.dead.wait()
            except TimeoutError:
                await self.advertise(self.offers)
                continue
            await asyncio.sleep(RETURN)
            await self.stop()
            self.dead.clear()
            await self.restart()


def flaky(stage: Stage, number: int) -> Flaky:
    node = Flaky(bytes([100 + number]) * 32, stage.settlement, stage.network, think=0.5)
    node.register()
    stage.nodes.append(node)
    return node


async def play(stage: Stage, nodes: list[Flaky], chains: range, seed: int) -> Counter[str]:
    ended: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    async with stage.up():
        tasks = [asyncio.create_task(node.tend()) for node in nodes]
        try:
            async with stage.setting(seed) as setting:
                setting = replace(setting, clock=lambda: stage.settlement.now + loop.time())
                for number in chains:
                    text = "\n\n\n".join(
                        f"Document {number}, part {part}. " + "word " * 700 for part in range(2)
                    )
                    document = document_from(f"{number}.txt", text)
                    options = Options(None, seed)
                    run, _ = enter(setting.store, document, SHORT, options, setting.clock())
                    result = await work_on(setting, run.id, asyncio.Event(), "")
                    ended[result.status.value] += 1
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return ended


def measure(args: argparse.Namespace) -> dict[str, Any]:
    Flaky.share, Flaky.chance, Flaky.injected = args.faults, random.Random(args.seed), Counter()
    counts: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    early = waits = 0
    began = time.perf_counter()
    for start in range(0, args.chains, args.block):
        with tempfile.TemporaryDirectory() as home:
            stage = Stage(Path(home))

            def heard(event: object, stage: Stage = stage) -> None:
                stage.events.clear()
                counts[type(event).__name__] += 1
                if isinstance(event, StepRetried):
                    codes[event.code] += 1

            stage.on_event = heard
            nodes = [flaky(stage, number) for number in range(args.nodes)]
            chains = range(start, min(start + args.block, args.chains))
            ended += run_virtual(play(stage, nodes, chains, args.seed))
            early += sum(node.early for node in nodes)
            waits += sum(len(node.waits) for node in nodes)
    answers = counts[StepFinished.__name__]
    finished = ended[RunStatus.COMPLETED.value] / args.chains
    per_answer = counts[StepStarted.__name__] / answers
    return {
        "chains": args.chains,
        "nodes": args.nodes,
        "share_of_asks_that_fail": args.faults,
        "seed": args.seed,
        "load": os.getloadavg()[0],
        "seconds": round(time.perf_counter() - began, 1),
        "ended": dict(ended),
        "injected": dict(Flaky.injected),
        "retried_for": dict(codes),
        "finished": round(finished, 5),
        "answers": answers,
        "calls_per_answer": round(per_answer, 4),
        "waits_asked_for": waits,
        "wait_seconds": WAIT,
        "asks_before_a_wait_was_over": early,
        "within_target": finished >= 0.999 and per_answer <= 1.3 and early == 0,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--chains", type=int, default=1000)
    parser.add_argument("--faults", type=float, default=0.2)
    parser.add_argument("--nodes", type=int, default=12)
    parser.add_argument("--block", type=int, default=50, help="chains in one home and network")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    logging.disable(logging.ERROR)  # dying nodes are meant to die
    report = measure(args)
    print(json.dumps(report, indent=2))
    return 0 if report["within_target"] else 1


if __name__ == "__main__":
    sys.exit(main())
