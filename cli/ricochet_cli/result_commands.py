"""`ricochet chain result|checkpoints|diff`: what runs have come to, and where it comes from."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t
from ricochet_cli.output_form import form_of
from ricochet_cli.run_commands import RunId


class Form(StrEnum):
    """What a result is written as."""

    MARKDOWN = "md"
    JSON = "json"
    HTML = "html"


def result(
    home: Home,
    run_id: RunId = None,
    form: Annotated[
        Form | None,
        typer.Option("--format", help="md, json or html. [default: as the file ends, else md]"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; it must not exist. [default: stdout]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a run's result with its trace: each answer, its peer and cost, and the source text that
    it rests on. The HTML page needs nothing else and runs nothing."""
    from ricochet_orchestrator.control import Runs
    from ricochet_orchestrator.report_page import as_html
    from ricochet_orchestrator.reports import as_json as to_json
    from ricochet_orchestrator.reports import as_markdown

    asked = Form.JSON if as_json else form
    endings = {".md": Form.MARKDOWN, ".json": Form.JSON, ".html": Form.HTML}
    written_as = form_of(out, asked, endings, Form.MARKDOWN)
    with Runs(home) as runs:
        trace = runs.trace(run_id)
    forms = {Form.MARKDOWN: as_markdown, Form.JSON: to_json, Form.HTML: as_html}
    text = forms[written_as](trace)
    if out is None:
        typer.echo(text.rstrip("\n"))
        return
    _write(out, text, force)
    say("wrote {out}", out=out)


def checkpoints(
    home: Home,
    run_id: RunId = None,
    show: Annotated[
        str | None, typer.Option(metavar="STEP", help="Print one answer: its id, or the start.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the answers that are stored of a run, or show one."""
    import msgspec

    from ricochet_cli.progress_view import short
    from ricochet_orchestrator.control import Runs
    from ricochet_orchestrator.trace import ranges
    from ricochet_protocol.errors import UsageError
    from ricochet_protocol.money import dollars

    with Runs(home) as runs:
        trace = runs.trace(run_id)
    stored = [step for step in trace.steps if step.peer is not None]
    if show is not None:
        found = [step for step in stored if step.id.startswith(show.lower())]
        if len(found) != 1:
            raise UsageError(
                "step_unknown",
                f"{len(found) or 'No'} stored answers of run {trace.run.id} begin with {show!r}.",
                f"List them: ricochet chain checkpoints {trace.run.id}",
            )
        if as_json:
            print_json(msgspec.to_builtins(found[0]))
        else:
            typer.echo(found[0].text)
        return
    if as_json:
        print_json([msgspec.to_builtins(step) for step in stored])
        return
    if not stored:
        say(
            "no stored answer yet: `ricochet chain resume {id}` goes on with the run",
            id=trace.run.id,
        )
        return
    rows = [
        (
            step.id[:12],
            step.name,
            step.model,
            "-" if step.peer is None else short(step.peer),
            ranges(step.rests_on) or "-",
            f"{step.tokens_out:,}",
            dollars(step.cost) if step.paid else t("earlier run"),
        )
        for step in stored
    ]
    typer.echo(table(("step", "name", "model", "peer", "segments", "tokens", "cost"), rows))


def diff(
    home: Home,
    first: Annotated[
        str | None, typer.Argument(metavar="[RUN1]", help="A run's id. [default: the latest]")
    ] = None,
    second: Annotated[
        str | None, typer.Argument(metavar="[RUN2]", help="The id of a run to hold against it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a second run did otherwise: segments read anew, calls, cost, and the text.

    One run alone is the second: the first is the run before it of the same chain over documents of
    the same name.
    """
    import msgspec

    from ricochet_orchestrator.control import Runs
    from ricochet_orchestrator.difference import difference
    from ricochet_orchestrator.printing import printable
    from ricochet_orchestrator.trace import ranges
    from ricochet_protocol.money import Units, dollars

    with Runs(home) as runs:
        if second is None:
            second = runs.record(first).id
            before = runs.before(second)
            first = before.id
            say(
                "comparing with run {first}, the one before of {chain} over {document}",
                first=first,
                chain=before.chain,
                document=printable(before.document),
            )
        found = difference(runs.trace(first), runs.trace(second))
    if as_json:
        document = msgspec.to_builtins(found)
        document["segments"] = [number + 1 for number in found.segments]
        print_json(document)
        return
    rows = [(one.name, f"{one.same}", f"{one.added}", f"{one.removed}") for one in found.steps]
    typer.echo(table(("step", "same", "new", "gone"), rows))
    sign = "-" if found.cost < 0 else "+"
    typer.echo(
        t(
            "segments read anew: {segments}\ncalls: {calls:+}, cost: {sign}{cost}, "
            "time: {seconds:+.1f} s",
            segments=ranges(found.segments) or t("none"),
            calls=found.calls,
            sign=sign,
            cost=dollars(Units(abs(found.cost))),
            seconds=found.seconds,
        )
    )
    typer.echo("\n".join(found.text) or t("the results are the same"))


def _write(path: Path, text: str, force: bool) -> None:
    from ricochet_protocol.errors import UsageError

    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(
            "file_exists", f"{path} exists.", "Name another file, or replace it with --force."
        ) from None
    except OSError as error:
        raise UsageError(
            "file_unwritable", f"{path} cannot be written: {error.strerror}.", "Name another file."
        ) from None


def register(app: typer.Typer) -> None:
    """Add the commands to `ricochet chain`."""
    for command in (result, checkpoints, diff):
        app.command(command.__name__)(command)
