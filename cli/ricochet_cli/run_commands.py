"""`ricochet chain …` for runs that exist: see, watch, pause, resume, retry and cancel them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home, Quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ricochet_orchestrator.app import Options, Task
    from ricochet_orchestrator.checkpoint import RunRecord
    from ricochet_orchestrator.source_files import Skipped
    from ricochet_protocol.money import Units

RunId = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help="The run's id. [default: the latest]")
]
Detach = Annotated[
    bool,
    typer.Option(
        "--detach",
        help="Run in a process of its own, which survives this terminal; print the run's id.",
    ),
]
MaxCost = Annotated[
    str | None,
    typer.Option(help="Dollars that the run never passes, the worst case of open calls included."),
]
MaxTime = Annotated[
    float | None, typer.Option(min=0.001, help="Seconds of work after which the run is paused.")
]


def status(home: Home, run_id: RunId = None, as_json: AsJson = False) -> None:
    """Show how a run stands: steps, peers, tokens and cost."""
    from ricochet_cli.chain_status import status_document, status_text
    from ricochet_orchestrator.app import run_status

    state = run_status(home, run_id)
    if as_json:
        print_json(status_document(state))
    else:
        typer.echo(status_text(state))


def runs(
    home: Home,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the latest runs."""
    from ricochet_orchestrator.control import latest_runs
    from ricochet_orchestrator.progress import printable

    found = latest_runs(home, limit)
    if as_json:
        print_json([record_document(run) for run in found])
        return
    if not found:
        say("no runs yet: `ricochet chain run FILE` makes the first")
        return
    rows = [
        (run.id, run.status.value, run.chain, printable(run.document), f"{run.seconds:.1f} s")
        for run in found
    ]
    typer.echo(table(("run", "status", "chain", "document", "time"), rows))


def watch(home: Home, run_id: RunId = None, as_json: AsJson = False) -> None:
    """Show a run as it goes by, whoever works on it, until it ends for now. Ctrl-C only stops
    the watching.

    With --json, stdout gets the run's events as JSON lines.
    """
    from ricochet_cli.watching import watch_run

    run = watch_run(home, run_id, as_json)
    if run.error:
        say(run.error)


def pause(home: Home, run_id: RunId = None, as_json: AsJson = False) -> None:
    """Stop a run for now. Answers are kept; calls that are out are cut off."""
    from ricochet_orchestrator.control import Runs

    with Runs(home) as held:
        _show(held.pause(run_id), as_json)


def cancel(home: Home, run_id: RunId = None, as_json: AsJson = False) -> None:
    """End a run for good. Its answers are kept, and other runs use them for nothing."""
    from ricochet_orchestrator.control import Runs

    with Runs(home) as held:
        _show(held.cancel(run_id), as_json)


def resume(
    home: Home,
    run_id: RunId = None,
    max_cost: MaxCost = None,
    max_time: MaxTime = None,
    detach: Detach = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run, without its document or chain file: all it needs is stored with it."""
    go_on(home, run_id, changed(max_cost, max_time), detach, as_json)


def retry(
    home: Home,
    run_id: RunId = None,
    detach: Detach = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Try again the steps of a run that were given up, and what depends on them."""
    from ricochet_orchestrator.app import run_status
    from ricochet_orchestrator.checkpoint import REFUSED, Status
    from ricochet_orchestrator.control import nothing_failed
    from ricochet_orchestrator.result import raise_retries
    from ricochet_protocol.errors import UsageError

    state = run_status(home, run_id)
    failed = [step for step in state.steps if step.status is Status.FAILED]
    refused = sorted({step.name for step in failed if step.error.startswith(REFUSED)})
    if failed and all(step.name in refused for step in failed):
        raise UsageError(
            "answers_refused",
            f"The answers to {', '.join(refused)} were refused as often as the chain lets them be "
            "asked for again: trying once more changes nothing.",
            raise_retries(state.run.chain, refused),
        )
    if refused:
        say("not tried again, see `retries` in the chain: {steps}", steps=", ".join(refused))
    if not failed:
        raise nothing_failed(state.run)
    go_on(home, state.run.id, changed(None, None), detach, as_json)


def changed(max_cost: str | None, max_time: float | None) -> "Callable[[Options], Options]":
    """What the options of a command change in those of a run; UsageError for a bad amount."""
    import msgspec

    values: dict[str, object] = {}
    if max_cost is not None:
        values["max_cost"] = amount(max_cost)
    if max_time is not None:
        values["max_time"] = max_time
    return lambda options: msgspec.structs.replace(options, **values)


def amount(text: str) -> "Units":
    """Units of a number of dollars; UsageError."""
    from ricochet_protocol.errors import UsageError
    from ricochet_protocol.money import parse_dollars

    try:
        return parse_dollars(text)
    except ValueError as error:
        raise UsageError("bad_amount", f"--max-cost: {error}", "Use dollars: 0.25") from None


def go_on(
    home: Path,
    run_id: str | None,
    change: "Callable[[Options], Options]",
    detach: bool,
    as_json: bool,
) -> None:
    """Take a run up again, here or in a process of its own."""
    from ricochet_cli.chain_runner import resume_with_view, show_result
    from ricochet_orchestrator.app import take_up

    if detach:
        detached(home, take_up(home, run_id, change), as_json)
    else:
        show_result(resume_with_view(home, run_id, change), as_json)


def detached(
    home: Path, run: "RunRecord", as_json: bool, skipped: "Sequence[Skipped] | None" = None
) -> None:
    """Have a process of its own work on an entered run, and print the run's id."""
    from ricochet_orchestrator.worker import start_worker

    start_worker(home, run.id)
    if as_json:
        print_json({**record_document(run), **skipped_document(skipped)})
        return
    typer.echo(run.id)
    say("watch it with: ricochet chain watch {id}", id=run.id)


def show_estimate(home: Path, task: "Task", as_json: bool, skipped: "Sequence[Skipped]") -> None:
    """Print what a run would take."""
    import asyncio

    from ricochet_cli.estimate_view import estimate_document, estimate_text
    from ricochet_orchestrator.app import estimate_run

    found = asyncio.run(estimate_run(home, task))
    if as_json:
        print_json({**estimate_document(found), **skipped_document(skipped)})
    else:
        typer.echo(estimate_text(found))


def skipped_document(skipped: "Sequence[Skipped] | None") -> dict[str, object]:
    """What of the folders given was left out; nothing for a command that takes no files."""
    if skipped is None:
        return {}
    return {"skipped": [{"name": one.name, "reason": one.reason} for one in skipped]}


def record_document(run: "RunRecord") -> dict[str, object]:
    """A run's record as JSON."""
    return {
        "id": run.id,
        "status": run.status.value,
        "chain": run.chain,
        "document": run.document,
        "model": run.model or None,
        "seconds": round(run.seconds, 3),
        "created_at": run.created_at,
        "error": run.error or None,
    }


def _show(run: "RunRecord", as_json: bool) -> None:
    if as_json:
        print_json(record_document(run))
    else:
        typer.echo(f"{run.id} {run.status.value}")


def register(app: typer.Typer) -> None:
    """Add the commands to `ricochet chain`."""
    for command in (status, runs, watch, pause, resume, retry, cancel):
        app.command(command.__name__)(command)
