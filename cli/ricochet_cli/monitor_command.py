"""`ricochet monitor`: a run, or one of its steps, in a box that can be kept up to date."""

import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ricochet_cli.console import print_json
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t, told

if TYPE_CHECKING:
    from ricochet_orchestrator.monitor import View

_BAR = 26
_WIDTH = 51
_PAUSE = 0.3
_MARKS = {
    "completed": ("✓", "32"),
    "running": ("▶", "36"),
    "pending": ("…", "36"),
    "ready": ("…", "36"),
    "paused": ("‖", "33"),
    "partial": ("!", "33"),
    "failed": ("✗", "31"),
    "cancelled": ("✗", "31"),
}


def monitor(
    home: Home,
    which: Annotated[
        str | None,
        typer.Argument(metavar="[RUN|STEP]", help="An id. [default: the latest run]"),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until the run ends; Ctrl-C stops only this.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show status, model and role, progress, time, tokens and cost of a run or of one step.

    Without a terminal, --watch prints a line whenever something has changed.
    """
    from ricochet_orchestrator.control import Runs

    box = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    drawn, last = 0, ""
    with Runs(home) as runs:
        while True:
            view = runs.view(which)
            moving = watch and view.moving
            text = line(view) if watch and not box else draw(view, box and _coloured())
            if as_json:
                if not watch:
                    print_json(document(view))
                elif (one := _compact(view)) != last:
                    last = one
                    typer.echo(one)
            elif text != last:
                if drawn:
                    sys.stdout.write(f"\x1b[{drawn}F\x1b[J")
                typer.echo(text)
                last = text
                drawn = len(text.splitlines()) if box and watch else 0
            if not moving:
                return
            time.sleep(_PAUSE)


def document(view: "View") -> dict[str, object]:
    """A view as JSON: amounts in units."""
    import msgspec

    values: dict[str, object] = msgspec.to_builtins(view)
    left = None if view.left is None else round(view.left, 1)
    return values | {
        "percent": view.percent,
        "seconds": round(view.seconds, 1),
        "left": left,
        "error": view.error or None,
        "step": view.step or None,
    }


def draw(view: "View", coloured: bool) -> str:
    """The box."""
    from ricochet_orchestrator.progress import printable
    from ricochet_protocol.money import dollars

    mark, colour = _MARKS.get(view.status, ("?", "0"))
    status = f"{mark} {told(view.status)}"
    full = _BAR * view.done // max(view.total, 1)
    ahead = "" if view.left is None else f" / {view.seconds + view.left:.1f} s"
    cap = "" if view.cap is None else t(" of {cap}", cap=dollars(view.cap))
    steps = (
        t(
            " ({done}/{total}, {running} running)",
            done=view.done,
            total=view.total,
            running=view.running,
        )
        if not view.step
        else ""
    )
    lines = [
        t("Status:   {status}", status=status),
        t(
            "Model:    {models} ({roles})",
            models=", ".join(view.models) or "-",
            roles=", ".join(view.roles) or "-",
        ),
        t(
            "Progress: [{bar}] {percent}%{steps}",
            bar="▓" * full + "-" * (_BAR - full),
            percent=view.percent,
            steps=steps,
        ),
        t("Time:     {seconds:.1f} s{ahead}", seconds=view.seconds, ahead=ahead),
        t(
            "Tokens:   {tokens_in:,} in / {tokens_out:,} out",
            tokens_in=view.tokens_in,
            tokens_out=view.tokens_out,
        ),
        t("Cost:     {cost}{cap}", cost=dollars(view.cost), cap=cap),
    ]
    lines += [t("Note:     {error}", error=printable(view.error)[:200])] if view.error else []
    width = max(_WIDTH, *(len(one) for one in lines))
    rows = [f"│ {one.ljust(width)} │" for one in lines]
    if coloured:
        rows[0] = rows[0].replace(status, f"\x1b[{colour}m{status}\x1b[0m")
    edge = "─" * (width + 2)
    title = printable(view.title)
    named = (
        t("Step {step}: {title}", step=view.step[:12], title=title)
        if view.step
        else t("Run {run}: {title}", run=view.run, title=title)
    )
    return "\n".join([named, f"┌{edge}┐", *rows, f"└{edge}┘"])


def line(view: "View") -> str:
    """The same on one line, for logs; it changes when something has happened."""
    from ricochet_protocol.money import dollars

    return t(
        "{run} {status} {done}/{total} ({percent}%), {tokens:,} tokens, {cost}",
        run=view.run,
        status=told(view.status),
        done=view.done,
        total=view.total,
        percent=view.percent,
        tokens=view.tokens_in + view.tokens_out,
        cost=dollars(view.cost),
    )


def _compact(view: "View") -> str:
    import json

    return json.dumps({**document(view), "seconds": None, "left": None})


def _coloured() -> bool:
    return "NO_COLOR" not in os.environ
