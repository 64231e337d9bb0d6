"""`ricochet logs`: the requests your node served, and what was said in those that may be kept."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t, tn

if TYPE_CHECKING:
    from ricochet_node.request_log import Filter

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Requests your node was asked to serve: who, what, how long, for how much. Prompts and "
    "answers are kept apart, and only if you and the subscriber both allow it.",
)

Since = Annotated[
    str | None,
    typer.Option(help="From when: 90m, 2h, 7d ago, or a UTC date such as 2026-11-01."),
]
Until = Annotated[str | None, typer.Option(help="Until when, as --since; not included.")]
Model = Annotated[str | None, typer.Option(help="Only this model.")]
Key = Annotated[str | None, typer.Option(help="Only what this key served.")]
Subscriber = Annotated[
    str | None, typer.Option(help="Only this subscriber's address; `local` for your own door.")
]
Outcome = Annotated[
    str | None, typer.Option(help="ok, failed, or one code such as busy or upstream.")
]


class ExportFormat(StrEnum):
    """What `logs export` writes."""

    CSV = "csv"
    MARKDOWN = "md"
    JSON = "json"


@app.command("show")
def show(
    home: Home,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many, newest last.")] = 20,
    since: Since = None,
    until: Until = None,
    model: Model = None,
    key: Key = None,
    subscriber: Subscriber = None,
    outcome: Outcome = None,
    content: Annotated[
        bool,
        typer.Option(
            "--content", help="Show prompts and answers, of requests for which they were kept."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the newest requests; works with the node running or stopped."""
    from ricochet_cli.logs_view import as_row, header, plain
    from ricochet_node.request_log import last

    wanted = _filter(since, until, model, key, subscriber, outcome)
    if content:
        _show_content(home, lines, wanted, as_json=as_json)
        return
    found = last(home, lines, wanted)
    if as_json:
        print_json([plain(record) for record in found])
        return
    if not found:
        _say_empty(home)
        return
    typer.echo(header())
    for record in found:
        typer.echo(as_row(record))


@app.command("tail")
def tail(
    home: Home,
    model: Model = None,
    key: Key = None,
    subscriber: Subscriber = None,
    outcome: Outcome = None,
    as_json: AsJson = False,
) -> None:
    """Follow requests as they end, until Ctrl-C; with --json one object a line."""
    import json
    import time

    from ricochet_cli.logs_view import as_row, header, plain
    from ricochet_node.request_log import follow

    wanted = _filter(None, None, model, key, subscriber, outcome)
    follower = follow(home, time.time())
    say(
        "following; Ctrl-C ends"
        if as_json
        else t("following; Ctrl-C ends\n{header}", header=header())
    )
    try:
        while True:
            for record in follower.new():
                if wanted.takes(record):
                    typer.echo(json.dumps(plain(record)) if as_json else as_row(record))
            time.sleep(0.2)
    except KeyboardInterrupt:
        return


@app.command("export")
def export(
    home: Home,
    form: Annotated[ExportFormat, typer.Option("--format", help="csv, md or json.")],
    out: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Write here instead of stdout; must not exist yet."),
    ] = None,
    since: Since = None,
    until: Until = None,
    model: Model = None,
    key: Key = None,
    subscriber: Subscriber = None,
    outcome: Outcome = None,
) -> None:
    """Write the requests out, for a spreadsheet, a report or a program. Amounts are in units."""
    import sys

    from ricochet_cli.logs_view import write_export
    from ricochet_node.request_log import read
    from ricochet_protocol.errors import UsageError

    wanted = _filter(since, until, model, key, subscriber, outcome)
    if out is None:
        write_export(sys.stdout, read(home, wanted), form.value)
        return
    try:
        with out.open("x", encoding="utf-8", newline="") as stream:
            count = write_export(stream, read(home, wanted), form.value)
    except OSError as error:
        raise UsageError(
            "export_refused", f"{out} cannot be written: {error.strerror}", "name another file"
        ) from None
    say(
        tn(
            "{count} request written to {out}",
            "{count} requests written to {out}",
            count,
            out=out,
        )
    )


def _show_content(home: Path, lines: int, wanted: "Filter", *, as_json: bool) -> None:
    from ricochet_cli.content_view import content_text, plain_content
    from ricochet_node.content_log import last

    found = last(home, lines, wanted)
    if as_json:
        print_json([plain_content(one) for one in found])
        return
    if not found:
        say(
            "no content is kept that fits: it takes `monitoring: {content: true}` in node.yaml "
            "and subscribers who run `ricochet chain run --allow-logging`"
        )
        return
    typer.echo("\n\n".join(content_text(one) for one in found))


def _filter(
    since: str | None,
    until: str | None,
    model: str | None,
    key: str | None,
    subscriber: str | None,
    outcome: str | None,
) -> "Filter":
    import time

    from ricochet_cli.logs_view import moment
    from ricochet_node.request_log import Filter

    now = time.time()
    return Filter(
        since=None if since is None else moment(since, now),
        until=None if until is None else moment(until, now),
        model=model,
        key=key,
        subscriber=None if subscriber is None else _whose(subscriber),
        outcome=None if outcome is None else _known(outcome),
    )


def _whose(subscriber: str) -> str:
    from ricochet_protocol.errors import UsageError
    from ricochet_protocol.ids import address

    if subscriber == "local":
        return ""
    try:
        return address(subscriber.lower())
    except ValueError:
        raise UsageError(
            "bad_subscriber",
            f"not an account: {subscriber!r}",
            "`ricochet node stats --by subscriber` shows those that there are; or: local",
        ) from None


def _known(outcome: str) -> str:
    from ricochet_protocol.errors import REMOTE_CODES, UsageError

    known = ("ok", "failed", "cancelled", *sorted(REMOTE_CODES))
    if outcome not in known:
        raise UsageError(
            "bad_outcome", f"no outcome is called {outcome!r}", f"use one of: {', '.join(known)}"
        )
    return outcome


def _say_empty(home: Path) -> None:
    from ricochet_node.day_files import FOLDER

    if any((home / FOLDER).glob("requests-*")):
        say("no request fits; widen the filters")
    else:
        say("no request yet: they are logged while `ricochet node start` runs")
