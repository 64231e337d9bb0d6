"""Two runs at once in one home: one account with each node, whoever signs."""

import asyncio
from dataclasses import replace
from pathlib import Path

from orchestrator_stage import ADVANCE, Stage, numbered, on

from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.progress import StepRetried
from ricochet_orchestrator.result import RunResult
from ricochet_orchestrator.store import Store
from ricochet_protocol.ids import Period


def side_by_side(stage: Stage, *parts: int) -> list[RunResult]:
    """A process for each document, at the same time."""
    processes = [
        replace(stage, client_seed=bytes([60 + number]) * 32, subscribed=False)
        for number in range(len(parts))
    ]

    async def scene() -> list[RunResult]:
        return await asyncio.gather(
            *(one.play(numbered(count)) for one, count in zip(processes, parts, strict=True))
        )

    return on(stage, scene)


def test_two_processes_pay_each_node_once_for_what_it_served(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    for number in range(3):
        stage.node(number, think=0.5)
    results = side_by_side(stage, 9, 12)
    assert [one.status for one in results] == [RunStatus.COMPLETED] * 2
    assert stage.heard(StepRetried) == [], "what a node wants for both is no lie to either"
    store = Store(tmp_path / "runs.db")
    accounts = {one.node: one for one in store.accounts(Period(1))}
    paid = store.payments()
    store.close()
    # The second document begins with the first: what one has answered, the other may use.
    assert len(paid) == sum(one.calls for one in results)
    assert sum(one.cost for one in paid) == sum(one.cost for one in results)
    for node in stage.nodes:
        account = accounts[node.operator]
        amounts = [voucher.voucher.cumulative for voucher in node.paid]
        assert node.vouchered == max(amounts) == account.signed
        assert node.due <= node.vouchered <= node.due + 2 * ADVANCE
