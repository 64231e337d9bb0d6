"""`ricochet tasks deps|validate|fix|tags|import|export`: order, tags, and exchange of tasks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ricochet_cli.console import print_json, table
from ricochet_cli.home import AsJson
from ricochet_cli.language import t, tn
from ricochet_protocol.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from ricochet_orchestrator.tasks.dependencies import Problem
    from ricochet_orchestrator.tasks.exchange import Exchanged

Tag = Annotated[str | None, typer.Option(help="Which tag. [default: the current one]")]
Name = Annotated[str, typer.Argument(help="The tag's name.")]
Ours = Annotated[bool, typer.Option("--ours", help="Where both changed a task, keep Ricochet's.")]
Theirs = Annotated[
    bool, typer.Option("--theirs", help="Where both changed a task, keep Task Master's.")
]
On = Annotated[str, typer.Option("--on", help="The task it waits for.")]

deps = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What waits for what.")
tags = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Lists of tasks, by name.")


def told(as_json: bool, document: dict[str, Any], text: str) -> None:
    """Say what was done."""
    if as_json:
        print_json(document)
    else:
        typer.echo(text)


@deps.command("add")
def add(
    ref: Annotated[str, typer.Argument(metavar="TASK")],
    on: On,
    tag: Tag = None,
    as_json: AsJson = False,
) -> None:
    """Let a task wait for another; a circle is refused."""
    from ricochet_orchestrator.tasks import dependencies, task_file

    with task_file.changing(Path.cwd()) as book:
        dependencies.add(book.tasks(tag), ref, on)
    told(as_json, {"task": ref, "on": on}, t("{ref} waits for {on}", ref=ref, on=on))


@deps.command("remove")
def remove(
    ref: Annotated[str, typer.Argument(metavar="TASK")],
    on: On,
    tag: Tag = None,
    as_json: AsJson = False,
) -> None:
    """Let a task no longer wait for another."""
    from ricochet_orchestrator.tasks import dependencies, task_file

    with task_file.changing(Path.cwd()) as book:
        dependencies.remove(book.tasks(tag), ref, on)
    told(as_json, {"task": ref, "on": on}, t("{ref} no longer waits for {on}", ref=ref, on=on))


@deps.command("validate")
def validate(tag: Tag = None, as_json: AsJson = False) -> None:
    """Check ids and dependencies: twins, missing tasks, circles."""
    from ricochet_orchestrator.tasks import dependencies, task_file

    found = dependencies.problems(task_file.load(Path.cwd()).tasks(tag))
    _tell_problems(found, as_json, t("all dependencies are sound"))
    if found:
        raise typer.Exit(ExitCode.FAILURE)


@deps.command("fix")
def fix(tag: Tag = None, as_json: AsJson = False) -> None:
    """Mend what `deps validate` finds: twins get new ids, impossible dependencies go."""
    from ricochet_orchestrator.tasks import dependencies, task_file

    with task_file.changing(Path.cwd()) as book:
        fixed = dependencies.fix(book.tasks(tag))
    _tell_problems(fixed, as_json, t("nothing was wrong"))


def _tell_problems(found: "list[Problem]", as_json: bool, none: str) -> None:
    import msgspec

    from ricochet_orchestrator.tasks.views import line

    if as_json:
        print_json([msgspec.to_builtins(one) for one in found])
    else:
        typer.echo("\n".join(f"{one.kind}: {line(one.message)}" for one in found) or none)


@tags.command("list")
def list_tags(as_json: AsJson = False) -> None:
    """Show tags; * is the current one."""
    from ricochet_orchestrator.tasks import tags as tags_of
    from ricochet_orchestrator.tasks import task_file
    from ricochet_orchestrator.tasks.views import line

    found = tags_of.described(task_file.load(Path.cwd()))
    if as_json:
        print_json(found)
        return
    rows = [
        ("*" if one["current"] else "", line(one["name"]), str(one["tasks"]), str(one["completed"]))
        for one in found
    ]
    typer.echo(table(("", "tag", "tasks", "completed"), rows))


@tags.command("add")
def add_tag(name: Name, as_json: AsJson = False) -> None:
    """Make an empty tag."""
    from ricochet_orchestrator.tasks import tags as tags_of
    from ricochet_orchestrator.tasks import task_file

    with task_file.changing(Path.cwd()) as book:
        tags_of.add(book, name)
    told(
        as_json,
        {"added": name},
        t("added {name}; use it: ricochet tasks tags use {name}", name=name),
    )


@tags.command("use")
def use(name: Name, as_json: AsJson = False) -> None:
    """Make a tag the current one."""
    from ricochet_orchestrator.tasks import tags as tags_of
    from ricochet_orchestrator.tasks import task_file

    with task_file.changing(Path.cwd()) as book:
        tags_of.use(book, name)
    told(as_json, {"current": name}, t("{name} is the current tag", name=name))


@tags.command("delete")
def delete_tag(name: Name, as_json: AsJson = False) -> None:
    """Delete a tag and its tasks."""
    from ricochet_orchestrator.tasks import tags as tags_of
    from ricochet_orchestrator.tasks import task_file

    with task_file.changing(Path.cwd()) as book:
        count = tags_of.delete(book, name)
    told(
        as_json,
        {"deleted": name, "tasks": count},
        tn(
            "deleted {name} with {count} task",
            "deleted {name} with {count} tasks",
            count,
            name=name,
        ),
    )


@tags.command("rename")
def rename(
    name: Name,
    to: Annotated[str, typer.Argument(help="Its new name.")],
    as_json: AsJson = False,
) -> None:
    """Give a tag another name."""
    from ricochet_orchestrator.tasks import tags as tags_of
    from ricochet_orchestrator.tasks import task_file

    with task_file.changing(Path.cwd()) as book:
        tags_of.rename(book, name, to)
    told(as_json, {"renamed": name, "to": to}, t("{name} is {to} now", name=name, to=to))


@tags.command("copy")
def copy(
    name: Name,
    to: Annotated[str, typer.Argument(help="The new tag.")],
    as_json: AsJson = False,
) -> None:
    """Make a tag with the tasks of another."""
    from ricochet_orchestrator.tasks import tags as tags_of
    from ricochet_orchestrator.tasks import task_file

    with task_file.changing(Path.cwd()) as book:
        tags_of.add(book, to, copy_of=name)
    told(as_json, {"copied": name, "to": to}, t("copied {name} to {to}", name=name, to=to))


def import_tasks(
    file: Annotated[
        Path | None, typer.Argument(help="[default: .taskmaster/tasks/tasks.json]")
    ] = None,
    ours: Ours = False,
    theirs: Theirs = False,
    as_json: AsJson = False,
) -> None:
    """Take over Task Master's tasks: what changed there since the last exchange.

    A task that changed on both sides is a conflict; nothing is written until --ours or --theirs
    says which counts.
    """
    from ricochet_orchestrator.tasks import exchange

    done = exchange.import_tasks(Path.cwd(), file or exchange.FILE, _prefer(ours, theirs))
    _tell_exchange(done, as_json)


def export_tasks(
    file: Annotated[
        Path | None, typer.Argument(help="[default: .taskmaster/tasks/tasks.json]")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Only this tag.")] = None,
    ours: Ours = False,
    theirs: Theirs = False,
    as_json: AsJson = False,
) -> None:
    """Write tasks into Task Master's file, merged with what is in it."""
    from ricochet_orchestrator.tasks import exchange

    done = exchange.export_tasks(Path.cwd(), file or exchange.FILE, tag, _prefer(ours, theirs))
    _tell_exchange(done, as_json)


def _prefer(ours: bool, theirs: bool) -> Literal["ours", "theirs"] | None:
    if ours and theirs:
        raise UsageError("usage", "--ours and --theirs exclude each other.", "Choose one.")
    return "ours" if ours else "theirs" if theirs else None


def _tell_exchange(done: "Exchanged", as_json: bool) -> None:
    import msgspec

    counts = t(
        "{added} added, {changed} changed, {removed} removed",
        added=len(done.added),
        changed=len(done.changed),
        removed=len(done.removed),
    )
    told(as_json, msgspec.to_builtins(done), counts)


def register(app: typer.Typer) -> None:
    """Enter the commands into the group `tasks`."""
    app.add_typer(deps, name="deps")
    app.add_typer(tags, name="tags")
    app.command("import")(import_tasks)
    app.command("export")(export_tasks)
