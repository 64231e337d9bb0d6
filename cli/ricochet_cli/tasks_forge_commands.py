"""`ricochet tasks push|pull|propose`: tasks as issues, results as requests."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t
from ricochet_cli.secret_input import PassphraseFile
from ricochet_cli.tasks_order_commands import Tag
from ricochet_protocol.errors import UsageError

if TYPE_CHECKING:
    from ricochet_orchestrator.forges.exchange import Prefer, Told
    from ricochet_orchestrator.forges.port import Forge

ForgeName = Literal["github", "gitlab"]
To = Annotated[ForgeName, typer.Option("--to", help="github or gitlab.")]
From = Annotated[ForgeName, typer.Option("--from", "--to", help="github or gitlab.")]
Repo = Annotated[
    str | None,
    typer.Option(
        metavar="OWNER/NAME", help="The repository. [default: the last one of this project]"
    ),
]
Ours = Annotated[bool, typer.Option("--ours", help="Where both changed, keep the task.")]
Theirs = Annotated[bool, typer.Option("--theirs", help="Where both changed, keep the issue.")]


def push(
    home: Home,
    to: To,
    refs: Annotated[
        list[str] | None, typer.Argument(metavar="[TASK]...", help="[default: all of the tag]")
    ] = None,
    repo: Repo = None,
    ours: Ours = False,
    tag: Tag = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an issue of each task, and change those whose task was changed.

    Can be repeated: it makes no second issue. An issue that was changed there too is named and left
    as it is (exit code 5); `tasks pull` brings its changes, or --ours writes over them.
    """
    from ricochet_orchestrator.forges import exchange

    forge = _forge(home, to, repo, passphrase_file)
    prefer: Prefer | None = "ours" if ours else None
    _tell(exchange.push(Path.cwd(), forge, tag, refs or (), prefer), as_json, "push")


def pull(
    home: Home,
    source: From,
    repo: Repo = None,
    new: Annotated[
        bool, typer.Option("--new", help="Make tasks of open issues that have none.")
    ] = False,
    theirs: Theirs = False,
    tag: Tag = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Change tasks as their issues say: title, text, boxes of subtasks, and whether it is closed.

    A task that was changed here too is named and left as it is (exit code 5); `tasks push --ours`
    keeps the task, --theirs keeps the issue.
    """
    from ricochet_orchestrator.forges import exchange

    forge = _forge(home, source, repo, passphrase_file)
    prefer: Prefer | None = "theirs" if theirs else None
    _tell(exchange.pull(Path.cwd(), forge, tag, prefer, new=new), as_json, "pull")


def propose(
    home: Home,
    ref: Annotated[str, typer.Argument(metavar="TASK", help="A task that has a result.")],
    to: To,
    repo: Repo = None,
    path: Annotated[
        str | None,
        typer.Option(help="Where the file is put there. [default: ricochet/TAG-TASK.md]"),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="The branch it is for. [default: the repository's]")
    ] = None,
    tag: Tag = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Open a pull or merge request with a task's result, or change the one that is open.

    It goes to a branch of its own through the forge's API; your working copy stays as it is.
    """
    from ricochet_orchestrator.forges.proposing import propose as do_propose
    from ricochet_orchestrator.tasks.views import line

    forge = _forge(home, to, repo, passphrase_file)
    made = do_propose(Path.cwd(), forge, ref, tag, path, base)
    if as_json:
        print_json({"number": made.number, "url": made.url, "opened": made.made})
    else:
        say("the request is opened" if made.made else "the request is changed")
        typer.echo(line(made.url))


def register(app: typer.Typer) -> None:
    """Enter the commands into the group `tasks`."""
    for command in (push, pull, propose):
        app.command(command.__name__)(command)


def _forge(home: Path, name: ForgeName, repo: str | None, passphrase_file: Path | None) -> "Forge":
    from ricochet_cli.forges_commands import known, token
    from ricochet_orchestrator.forges import links
    from ricochet_orchestrator.forges.opening import opened
    from ricochet_orchestrator.forges.port import check_repository

    repository = repo or links.read(Path.cwd()).last.get(name)
    if repository is None:
        raise UsageError(
            "no_repository",
            f"it is not known which repository of {name}",
            "Name it once: --repo OWNER/NAME",
        )
    check_repository(repository)
    address = known(home, name).origin
    return opened(name, address, repository, token(home, name, passphrase_file))


def _tell(told: "Told", as_json: bool, command: str) -> None:
    import msgspec

    from ricochet_orchestrator.tasks.views import line

    if as_json:
        print_json(msgspec.to_builtins(told))
    else:
        for word, refs in ((t("created"), told.created), (t("updated"), told.updated)):
            for ref in refs:
                typer.echo(f"{word}  {line(ref)}  {line(told.urls[ref])}")
        for ref in told.conflicts:
            typer.echo(f"{t('conflict')}  {line(ref)}  {line(told.urls[ref])}")
        for ref, why in told.left.items():
            typer.echo(f"{t('left')}  {line(ref)}: {line(why)}")
        say("{repository}: {count} unchanged", repository=told.repository, count=len(told.same))
        if told.conflicts:
            say("Changed here and there, so left: `tasks push --ours` keeps the task,")
            say("`tasks pull --theirs` the issue.")
        elif not (told.created or told.updated or told.same or told.left):
            if command == "push":
                say("nothing to push: `ricochet tasks add TITLE` makes a task")
            else:
                say("no task has an issue: `ricochet tasks push`, or --new for what is there")
    if told.exit_code:
        raise typer.Exit(told.exit_code)
