"""Follows the event log of a run that some process works on, and shows it as if it ran here."""

import json
import time
from pathlib import Path
from typing import Final

import msgspec
import typer

from ricochet_cli.progress_view import ProgressView
from ricochet_orchestrator.checkpoint import RunRecord, RunStatus
from ricochet_orchestrator.control import Runs
from ricochet_orchestrator.event_log import Follower, Logged
from ricochet_orchestrator.progress import RunStarted

LOOK: Final = 0.1
START_WAIT: Final = 15.0
"""Seconds for a process to take up a run that waits for one."""


def watch_run(home: Path, run_id: str | None, as_json: bool) -> RunRecord:
    """Show what happens until nobody works on the run any more; how it stands then."""
    view = ProgressView()
    with Runs(home) as runs:
        run = runs.record(run_id)
        follower = Follower(runs.events(run.id))
        past = _last_session(follower.new())
        give_up = time.monotonic() + START_WAIT
        while True:
            run = runs.record(run.id)
            going = run.status is RunStatus.RUNNING or (
                run.status is RunStatus.PENDING
                and (runs.owned(run.id) or time.monotonic() < give_up)
            )
            for logged in [*past, *follower.new()]:
                _show(logged, view, as_json)
            past = []
            if not going:
                return run
            time.sleep(LOOK)


def _last_session(logged: list[Logged]) -> list[Logged]:
    """The events since a process last took the run up: they tell all that is done."""
    starts = [index for index, one in enumerate(logged) if isinstance(one.event, RunStarted)]
    return logged[starts[-1] :] if starts else logged


def _show(logged: Logged, view: ProgressView, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(logged), ensure_ascii=False))
    else:
        view(logged.event, logged.at)
