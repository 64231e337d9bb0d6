"""`ricochet monitor`: a run, or one of its steps, in a box that can be kept up to date."""

import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ricochet_cli.console import print_json
from ricochet_cli.home import AsJson, Home

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
    full = _BAR * view.done // max(view.total, 1)
    ahead = "" if view.left is None else f" / {view.seconds + view.left:.1f} s"
    cap = "" if view.cap is None else f" of {dollars(view.cap)}"
    steps = f" ({view.done}/{view.total}, {view.running} running)" if not view.step else ""
    lines = [
        f"Status:   {mark} {view.status}",
        f"Model:    {', '.join(view.models) or '-'} ({', '.join(view.roles) or '-'})",
        f"Progress: [{'▓' * full}{'-' * (_BAR - full)}] {view.percent}%{steps}",
        f"Time:     {view.seconds:.1f} s{ahead}",
        f"Tokens:   {view.tokens_in:,} in / {view.tokens_out:,} out",
        f"Cost:     {dollars(view.cost)}{cap}",
    ]
    lines += [f"Note:     {printable(view.error)[:200]}"] if view.error else []
    width = max(_WIDTH, *(len(one) for one in lines))
    rows = [f"│ {one.ljust(width)} │" for one in lines]
    if coloured:
        rows[0] = rows[0].replace(
            f"{mark} {view.status}", f"\x1b[{colour}m{mark} {view.status}\x1b[0m"
        )
    edge = "─" * (width + 2)
    kind, name = ("Step", view.step[:12]) if view.step else ("Run", view.run)
    return "\n".join([f"{kind} {name}: {printable(view.title)}", f"┌{edge}┐", *rows, f"└{edge}┘"])


def line(view: "View") -> str:
    """The same on one line, for logs; it changes when something has happened."""
    from ricochet_protocol.money import dollars

    return (
        f"{view.run} {view.status} {view.done}/{view.total} ({view.percent}%), "
        f"{view.tokens_in + view.tokens_out:,} tokens, {dollars(view.cost)}"
    )


def _compact(view: "View") -> str:
    import json

    return json.dumps({**document(view), "seconds": None, "left": None})


def _coloured() -> bool:
    return "NO_COLOR" not in os.environ
