"""What a file is written as: what its ending says, or an option, and never both at odds."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from ricochet_protocol.errors import UsageError

F = TypeVar("F", bound=str)


def form_of(out: Path | None, asked: F | None, endings: Mapping[str, F], default: F) -> F:
    """The form for `out`; `default` on stdout. UsageError `format_bad` when nothing says it."""
    if out is None:
        return asked or default
    said = endings.get(out.suffix.lower())
    if said and asked and said != asked:
        raise UsageError(
            "format_bad",
            f"{out} has the ending of {said}, but {asked} is asked for.",
            "Leave --format out, or give the file the other ending.",
        )
    found = said or asked
    if found is None:
        raise UsageError(
            "format_bad",
            f"What {out} is to be written as cannot be told from its ending.",
            f"Name a file in {', '.join(endings)}, or add --format.",
        )
    return found
