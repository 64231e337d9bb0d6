"""Findings of an examination as people and programs see them, and the exit code they make."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import typer

from ricochet_cli.console import print_json, table
from ricochet_cli.language import told

if TYPE_CHECKING:
    from ricochet_protocol.findings import Finding

_MARKS: Final = {"ok": "✓", "warn": "!", "fail": "✗"}


def show_findings(parts: "Mapping[str, Sequence[Finding]]", as_json: bool) -> None:
    """Print them; ends with code 1 when one of them is a failure. A sole part has no name."""
    import msgspec

    found = [(part, one) for part, findings in parts.items() for one in findings]
    if as_json:
        named = len(parts) > 1
        print_json(
            [({"part": part} if named else {}) | msgspec.to_builtins(one) for part, one in found]
        )
    else:
        rows = [(_MARKS[one.state], told(one.about), told(one.message)) for _, one in found]
        typer.echo(table(("", "about", "finding"), rows))
        for _, one in found:
            if one.mend:
                typer.echo(f"\n{_MARKS[one.state]} {told(one.about)}: {told(one.mend)}")
    if any(one.state == "fail" for _, one in found):
        raise typer.Exit(1)
