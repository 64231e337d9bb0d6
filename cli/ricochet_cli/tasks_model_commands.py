"""`ricochet tasks analyze-complexity|expand|parse|run`: what models do with tasks, for pay."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home, Quiet
from ricochet_cli.language import t, tn
from ricochet_cli.tasks_order_commands import Tag
from ricochet_protocol.errors import ExitCode
from ricochet_protocol.money import Units, dollars

if TYPE_CHECKING:
    from ricochet_orchestrator.tasks.asking import Runner
    from ricochet_orchestrator.tasks.decomposing import Done

Refs = Annotated[
    list[str] | None, typer.Argument(metavar="[TASK]...", help="[default: all that are open]")
]
MaxCost = Annotated[str | None, typer.Option(help="Dollars that this never passes.")]


def analyze(
    home: Home,
    refs: Refs = None,
    tag: Tag = None,
    max_cost: MaxCost = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Let the analyzer's model rate how complex tasks are, and how to break them down.

    Ratings go into the tasks and into Task Master's report, .taskmaster/reports.
    """
    from ricochet_orchestrator.tasks import decomposing

    done = _run(
        home,
        lambda run: decomposing.analyze(
            Path.cwd(), home, run, time.time(), tag, refs or (), _cap(max_cost)
        ),
    )
    lines = [
        t(
            "{ref}: {score}/10, {subtasks}",
            ref=ref,
            score=one["complexityScore"],
            subtasks=tn("{count} subtask", "{count} subtasks", one["recommendedSubtasks"]),
        )
        for ref, one in done.changed.items()
    ]
    _tell(done, lines, as_json)


def expand(
    home: Home,
    refs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TASK]...", help="[default: all rated 5 or more without subtasks]"),
    ] = None,
    num: Annotated[int | None, typer.Option(min=1, max=20, help="How many subtasks.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of the subtasks there are.")
    ] = False,
    tag: Tag = None,
    max_cost: MaxCost = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Let main's model break tasks into subtasks."""
    from ricochet_orchestrator.tasks import decomposing

    done = _run(
        home,
        lambda run: decomposing.expand(
            Path.cwd(), home, run, time.time(), tag, refs or (), num, replace, _cap(max_cost)
        ),
    )
    lines = [
        f"{ref}: " + tn("{count} subtask", "{count} subtasks", len(parts))
        for ref, parts in done.changed.items()
    ]
    _tell(done, lines, as_json)


def parse(
    home: Home,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="What is required; - is stdin.")
    ],
    tag: Tag = None,
    max_cost: MaxCost = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make tasks out of a requirements document of any length, section by section.

    All sections count or none: what has no usable answer is told, and nothing is added.
    """
    from ricochet_cli.chain_runner import read_document
    from ricochet_orchestrator.reading import Inputs
    from ricochet_orchestrator.tasks import decomposing
    from ricochet_orchestrator.tasks.views import line

    document = read_document(Inputs(tuple(files))).document
    done = _run(
        home,
        lambda run: decomposing.parse(
            Path.cwd(), home, run, time.time(), document, tag, _cap(max_cost)
        ),
    )
    _tell(done, [f"{ref}: {line(title)}" for ref, title in done.changed.items()], as_json)


def run(
    home: Home,
    refs: Annotated[
        list[str] | None, typer.Argument(metavar="[TASK]...", help="[default: all that are ready]")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Tasks, at most.")] = None,
    model: Annotated[str | None, typer.Option(help="Model for all, whatever their role.")] = None,
    max_cost: MaxCost = None,
    tag: Tag = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Let models do the ready tasks, each by its role, round after round until none is ready.

    Results go to .ricochet/results. Stopped or killed, the same command goes on: no answer is paid
    twice.
    """
    import msgspec

    from ricochet_orchestrator.tasks.running import Wanted, run_tasks

    wanted = Wanted(tag, tuple(refs or ()), limit, model, _cap(max_cost))
    done = _run(home, lambda runner: run_tasks(Path.cwd(), home, runner, wanted))
    if as_json:
        print_json(msgspec.to_builtins(done))
    else:
        from ricochet_orchestrator.tasks.views import line

        typer.echo(t("completed: {refs}", refs=", ".join(done.completed) or t("none")))
        for ref, why in done.failed.items():
            typer.echo(t("failed: {ref}: {why}", ref=ref, why=line(why)))
        if done.left:
            typer.echo(t("left: {left}", left=", ".join(done.left)))
        say(
            tn(
                "{count} call, {cost}",
                "{count} calls, {cost}",
                done.calls,
                cost=dollars(done.cost),
            )
            + (done.stopped and f"; {done.stopped}")
        )
    if done.exit_code:
        raise typer.Exit(done.exit_code)


def _run(home: Path, work: "Callable[[Runner], Awaitable[Any]]") -> Any:
    from ricochet_cli.chain_runner import watched
    from ricochet_orchestrator.app import run_chain

    return watched(lambda view, stop: work(lambda task: run_chain(home, task, view, stop)))


def _cap(max_cost: str | None) -> Units | None:
    from ricochet_cli.run_commands import amount

    return None if max_cost is None else amount(max_cost)


def _tell(done: "Done", lines: list[str], as_json: bool) -> None:
    import msgspec

    from ricochet_orchestrator.tasks.views import line

    if as_json:
        print_json(msgspec.to_builtins(done))
    else:
        typer.echo("\n".join(lines) or t("nothing changed"))
        for ref, why in done.failed.items():
            say("{ref}: no usable answer: {why}", ref=ref, why=line(why))
        tokens = t(
            "{tokens_in} + {tokens_out} tokens",
            tokens_in=done.tokens_in,
            tokens_out=done.tokens_out,
        )
        say(
            "{calls}, {tokens}, {cost}",
            calls=tn("{count} call", "{count} calls", done.calls),
            tokens=tokens,
            cost=dollars(done.cost),
        )
    if done.failed:
        raise typer.Exit(ExitCode.PARTIAL)


def register(app: typer.Typer) -> None:
    """Enter the commands into the group `tasks`."""
    app.command("analyze-complexity")(analyze)
    for command in (expand, parse, run):
        app.command(command.__name__)(command)
