"""`ricochet tasks`: a project's tasks; `tasks_order_commands` has order, tags and exchange."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ricochet_cli import tasks_forge_commands, tasks_model_commands, tasks_order_commands
from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson
from ricochet_cli.language import t
from ricochet_cli.tasks_order_commands import Tag, told
from ricochet_protocol.errors import UsageError

if TYPE_CHECKING:
    from ricochet_orchestrator.tasks.editing import Fields

Ref = Annotated[str, typer.Argument(metavar="TASK", help="7 is a task, 7.2 its subtask 2.")]
Refs = Annotated[list[str], typer.Argument(metavar="TASK...", help="Tasks or subtasks.")]
Description = Annotated[str | None, typer.Option(help="What it is about, in a sentence or two.")]
Details = Annotated[str | None, typer.Option(help="How it is to be done.")]
DetailsFile = Annotated[
    Path | None, typer.Option(help="The same from a file.", exists=True, dir_okay=False)
]
TestStrategy = Annotated[str | None, typer.Option(help="How one sees that it is done.")]
Priority = Annotated[str | None, typer.Option(help="critical, high, medium or low.")]
Role = Annotated[str | None, typer.Option(help="Role whose model does it in `tasks run`.")]
Model = Annotated[str | None, typer.Option(help="Model that does it, whatever its role.")]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Tasks of the project in this folder (.ricochet/tasks.json): kept, exchanged with Task "
    "Master, broken down and done by models.",
)


@app.command("add")
def add(
    title: Annotated[str, typer.Argument(help="What is to be done.")],
    description: Description = None,
    details: Details = None,
    details_file: DetailsFile = None,
    test_strategy: TestStrategy = None,
    priority: Priority = None,
    role: Role = None,
    model: Model = None,
    needs: Annotated[
        list[str] | None, typer.Option("--needs", help="Task it waits for; may be repeated.")
    ] = None,
    parent: Annotated[str | None, typer.Option(help="Task of which it is a subtask.")] = None,
    tag: Tag = None,
    as_json: AsJson = False,
) -> None:
    """Add a task, or with --parent a subtask."""
    from ricochet_orchestrator.tasks import editing, task_file

    fields = _fields(
        title, description, details, details_file, test_strategy, priority, role, model
    )
    with task_file.changing(Path.cwd()) as book:
        ref = editing.add(book.tasks(tag), fields, time.time(), parent, needs or ())
    told(as_json, {"added": ref}, t("added {ref}", ref=ref))


@app.command("edit")
def edit(
    ref: Ref,
    title: Annotated[str | None, typer.Option(help="What is to be done.")] = None,
    description: Description = None,
    details: Details = None,
    details_file: DetailsFile = None,
    test_strategy: TestStrategy = None,
    priority: Priority = None,
    role: Role = None,
    model: Model = None,
    tag: Tag = None,
    as_json: AsJson = False,
) -> None:
    """Change what a task says; fields that are not given stay."""
    from ricochet_orchestrator.tasks import editing, task_file

    fields = _fields(
        title, description, details, details_file, test_strategy, priority, role, model
    )
    with task_file.changing(Path.cwd()) as book:
        name = editing.edit(book.tasks(tag), ref, fields, time.time())
    told(as_json, {"edited": name}, t("edited {name}", name=name))


@app.command("delete")
def delete(refs: Refs, tag: Tag = None, as_json: AsJson = False) -> None:
    """Delete tasks with their subtasks; what waited for them no longer does, and is listed."""
    from ricochet_orchestrator.tasks import editing, task_file

    with task_file.changing(Path.cwd()) as book:
        freed = editing.delete(book.tasks(tag), refs)
    if freed and not as_json:
        say("no longer waiting for what was deleted: {freed}", freed=", ".join(freed))
    told(as_json, {"deleted": refs, "freed": freed}, t("deleted {refs}", refs=", ".join(refs)))


@app.command("list")
def list_all(
    status: Annotated[str | None, typer.Option(help="Only those of this status.")] = None,
    ready: Annotated[bool, typer.Option("--ready", help="Only what can be begun.")] = False,
    blocked: Annotated[bool, typer.Option("--blocked", help="Only what waits for others.")] = False,
    subtasks: Annotated[bool, typer.Option("--subtasks", help="Subtasks too.")] = False,
    tag: Tag = None,
    as_json: AsJson = False,
) -> None:
    """Show the tasks of a tag, or those that can be begun or are blocked."""
    from ricochet_cli import task_page
    from ricochet_orchestrator.tasks import dependencies, task_file, views

    if ready and blocked:
        raise UsageError("usage", "--ready and --blocked exclude each other.", "Choose one.")
    view: Literal["all", "ready", "blocked"] = "ready" if ready else "blocked" if blocked else "all"
    tasks = task_file.load(Path.cwd()).tasks(tag)
    found = views.listed(tasks, None if status is None else _status(status), view, subtasks)
    if as_json:
        print_json([views.document(one) for one in found])
        return
    if not tasks:
        _say_no_tasks()
        return
    if wrong := dependencies.problems(tasks):
        say(
            "{count} ids or dependencies cannot be right: see `ricochet tasks deps validate`.",
            count=len(wrong),
        )
    if not found:
        say(
            "None of {count} tasks fits: `ricochet tasks list` shows all.",
            count=len(tasks),
        )
        return
    waits = dependencies.unmet(tasks)
    typer.echo(task_page.listing(found, waits))


@app.command("show")
def show(ref: Ref, tag: Tag = None, as_json: AsJson = False) -> None:
    """Show one task with all it has."""
    from ricochet_cli import task_page
    from ricochet_orchestrator.tasks import book, task_file, views

    tasks = task_file.load(Path.cwd()).tasks(tag)
    if as_json:
        print_json(views.document(book.find(tasks, ref)))
    else:
        typer.echo(task_page.page(tasks, ref, Path.cwd()))


@app.command("next")
def next_one(tag: Tag = None, as_json: AsJson = False) -> None:
    """Show what to work on next: nothing unfinished before it, most urgent, then lowest id."""
    from ricochet_cli import task_page
    from ricochet_orchestrator.tasks import choosing, task_file, views

    tasks = task_file.load(Path.cwd()).tasks(tag)
    found = choosing.next_task(tasks)
    if as_json:
        print_json(None if found is None else views.document(found))
    elif not tasks:
        _say_no_tasks()
    elif found is None:
        say("Nothing can be begun: see `ricochet tasks list --blocked`.")
    else:
        typer.echo(task_page.page(tasks, found.ref, Path.cwd()))


@app.command("set-status")
def set_status(
    refs: Refs,
    status: Annotated[
        str,
        typer.Option(
            "--to", help="pending, ready, running, completed, failed, paused or cancelled."
        ),
    ],
    tag: Tag = None,
    as_json: AsJson = False,
) -> None:
    """Set the status of tasks; a completed task completes its subtasks.

    pending and ready are one: which of them it is follows from what the task waits for.
    """
    from ricochet_orchestrator.tasks import editing, task_file

    wanted = _status(status)
    with task_file.changing(Path.cwd()) as book:
        changed = editing.set_status(book.tasks(tag), refs, wanted, time.time())
    told(
        as_json,
        {"changed": changed},
        t("changed: {names}", names=", ".join(changed) or t("nothing")),
    )


@app.command("move")
def move(
    ref: Ref,
    to: Annotated[str, typer.Option(help="An id that is free: 9 for a task, 9.1 for a subtask.")],
    tag: Tag = None,
    as_json: AsJson = False,
) -> None:
    """Give a task another id, make it a subtask, or a subtask a task; dependencies follow."""
    from ricochet_orchestrator.tasks import editing, task_file

    with task_file.changing(Path.cwd()) as book:
        name = editing.move(book.tasks(tag), ref, to)
    told(as_json, {"moved": ref, "to": name}, t("{ref} is {name} now", ref=ref, name=name))


def _say_no_tasks() -> None:
    say("No tasks here yet: `ricochet tasks add TITLE`, `ricochet tasks parse FILE` makes them")
    say("from a document, and `ricochet tasks import` takes Task Master's over.")


def _fields(
    title: str | None,
    description: str | None,
    details: str | None,
    details_file: Path | None,
    test_strategy: str | None,
    priority: str | None,
    role: str | None,
    model: str | None,
) -> "Fields":
    from ricochet_orchestrator.tasks.editing import Fields

    if details_file is not None:
        if details is not None:
            raise UsageError("usage", "--details and --details-file are the same.", "Give one.")
        try:
            details = details_file.read_text("utf-8-sig")
        except UnicodeDecodeError:
            raise UsageError(
                "not_text", f"{details_file} is not text in UTF-8.", "Give a text file."
            ) from None
    values: dict[str, Any] = {
        "title": title,
        "description": description,
        "details": details,
        "test_strategy": test_strategy,
        "priority": priority,
        "role": role,
        "model": model,
    }
    return Fields(**values)


def _status(text: str) -> Any:
    from ricochet_orchestrator.tasks.status import TaskStatus

    try:
        return TaskStatus(text)
    except ValueError:
        raise UsageError(
            "status_unknown", f"{text!r} is no status.", f"Known: {', '.join(TaskStatus)}."
        ) from None


tasks_order_commands.register(app)
tasks_model_commands.register(app)
tasks_forge_commands.register(app)
