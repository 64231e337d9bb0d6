"""Tools that run chains and look at runs.

A run is worked on by a process of its own, as with `chain run --detach`, so it goes on when the
chat, the editor or this server ends.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import anyio
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult
from pydantic import Field

from ricochet_cli.mcp_server import documents
from ricochet_cli.mcp_server.open_runs import OpenRuns
from ricochet_cli.mcp_server.outputs import ResultOut, RunStatusOut, StartedOut, ViewOut
from ricochet_cli.mcp_server.replies import told
from ricochet_cli.mcp_server.run_views import (
    progress_line,
    result_out,
    result_text,
    run_out,
    status_out,
    status_text,
    view_out,
)
from ricochet_cli.mcp_server.task_views import task_text, task_view
from ricochet_cli.mcp_server.waiting import bounded
from ricochet_cli.monitor_command import draw
from ricochet_protocol.errors import UsageError

if TYPE_CHECKING:
    from ricochet_orchestrator.monitor import View

LONGEST_WAIT: Final = 50
"""Seconds: editors give a call up after 60."""
LOOK: Final = 0.3
RunId = Annotated[
    str | None, Field(description="The run's id, from chain_run. [default: the latest]")
]
Wait = Annotated[
    int,
    Field(
        ge=0, le=LONGEST_WAIT, description="Seconds to look on, telling progress, until it ends."
    ),
]


class RunTools:
    """Bound to a home; documents are in the working folder."""

    def __init__(self, home: Path, runs: OpenRuns) -> None:
        self._home = home
        self._runs = runs

    def chain_run(
        self,
        files: Annotated[
            list[str] | None,
            Field(description="Files and folders of the project that make one document."),
        ] = None,
        text: Annotated[
            str | None, Field(description="The document itself, instead of files.")
        ] = None,
        chain: Annotated[str, Field(description="A chain's name, from chain_list.")] = "overview",
        parameters: Annotated[
            dict[str, str] | None, Field(description="Values of the chain's parameters.")
        ] = None,
        model: Annotated[
            str | None, Field(description="Model for all steps. [default: by role]")
        ] = None,
        max_cost: Annotated[
            str | None, Field(description='Dollars that the run never passes, such as "0.25".')
        ] = None,
        max_time: Annotated[
            float | None, Field(gt=0, description="Seconds of work after which it is paused.")
        ] = None,
        estimate_only: Annotated[
            bool, Field(description="Tell calls, tokens, cost and time; start and pay nothing.")
        ] = False,
    ) -> Annotated[CallToolResult, StartedOut]:
        """Start a chain of models over a document of any length and return the run's id at once;
        it works on by itself, and costs money of the user's subscription. Follow it with
        monitor_chain. The same call after an interruption goes on with the run; no finished step
        is paid twice. With estimate_only, tells what it would take."""
        from ricochet_cli.run_commands import amount
        from ricochet_orchestrator.app import Options, Task, enter_run, estimate_run
        from ricochet_orchestrator.worker import start_worker
        from ricochet_protocol.ids import ModelId

        document, skipped = documents.read(self._home, files or (), text)
        options = Options(
            model=None if model is None else ModelId(model),
            parameters=parameters or {},
            max_cost=None if max_cost is None else amount(max_cost),
            max_time=max_time,
        )
        task = Task(document, chain, options)
        left_out = [f"Left out: {one}" for one in skipped]
        if estimate_only:
            from ricochet_cli.estimate_view import estimate_document, estimate_text

            found = bounded(estimate_run(self._home, task))
            out = StartedOut(run=None, estimate=estimate_document(found), skipped=skipped)
            return told("\n".join([estimate_text(found), *left_out]), out)
        run = enter_run(self._home, task)
        start_worker(self._home, run.id)
        lines = [
            f"Run {run.id} of the chain {run.chain} over {run.document} has been started.",
            "Follow it with monitor_chain; chain_result has the result once it is completed.",
        ]
        out = StartedOut(run=run_out(run), estimate=None, skipped=skipped)
        return told("\n".join([*lines, *left_out]), out)

    def chain_status(self, run: RunId = None) -> Annotated[CallToolResult, RunStatusOut]:
        """Show how a run stands: steps of the chain with their calls, tokens, cost, and what was
        given up. With the hint how to go on when it is paused."""
        with self._runs.look() as runs:
            state = runs.state(run)
        out = status_out(state)
        return told(status_text(out), out)

    def chain_result(self, run: RunId = None) -> Annotated[CallToolResult, ResultOut]:
        """Return what a run has come to: its text, what it cites, tokens and cost. Of a run that
        is not completed, what it has so far."""
        with self._runs.look() as runs:
            state = runs.state(run)
        out = result_out(state)
        return told(result_text(out), out)

    async def monitor_chain(
        self, ctx: Context[Any, Any], run: RunId = None, wait_seconds: Wait = 0
    ) -> Annotated[CallToolResult, ViewOut]:
        """Show a run in a box: status, model and role at work, progress, time left, tokens, cost.
        With wait_seconds, looks on and tells progress until the run ends or the time is over;
        call it again to go on looking."""
        give_up = time.monotonic() + wait_seconds
        before = None
        while True:
            view = await anyio.to_thread.run_sync(self._view, run)
            moment = (view.done, view.total, view.running)
            if moment != before:
                before = moment
                await ctx.report_progress(view.done, max(view.total, 1), progress_line(view))
            if not view.moving or time.monotonic() >= give_up:
                return told(draw(view, coloured=False), view_out(view))
            await anyio.sleep(LOOK)

    def monitor_task(
        self,
        id: Annotated[
            str,
            Field(description="A task's id, or that of a step of the latest run, or its start."),
        ],
    ) -> Annotated[CallToolResult, ViewOut]:
        """Show one task of the project that models do, or one step of the latest run: status,
        model and role, time, tokens and cost."""
        from ricochet_orchestrator.tasks import book, task_file

        tasks = task_file.load(Path.cwd()).tasks()
        found = next((one for one in book.places(tasks) if one.ref == id.strip()), None)
        if found is not None:
            out = task_view(found)
            return told(task_text(out), out)
        view = self._view(id)
        if not view.step:
            raise UsageError(
                "step_unknown",
                f"{id[:64]!r} is a run, no step or task.",
                "monitor_chain shows runs.",
            )
        return told(draw(view, coloured=False), view_out(view))

    def _view(self, which: str | None) -> "View":
        with self._runs.look() as runs:
            return runs.view(which)
