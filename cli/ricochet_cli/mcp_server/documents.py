"""The document of a run that a chat asked for: a text, or files of the project.

Whoever calls a tool may be led astray by what it has read, so files outside the project are
refused, and so is the home with its keys, wherever it lies. Links count as what they lead to.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ricochet_protocol.errors import UsageError

if TYPE_CHECKING:
    from ricochet_orchestrator.document import Document


def read(home: Path, files: Sequence[str], text: str | None) -> "tuple[Document, list[str]]":
    """The document, and what of the folders named is not in it; UsageError."""
    if bool(files) == (text is not None):
        raise UsageError(
            "document_needed", "Give either files or a text.", "files are paths in the project."
        )
    if text is not None:
        from ricochet_orchestrator.document import document_from

        if not text.strip():
            raise UsageError("document_empty", "The text is blank.", "Give a text or files.")
        return document_from("chat", text), []
    from ricochet_orchestrator.reading import Inputs, load

    loaded = load(Inputs(tuple(_allowed(home, one) for one in files)))
    return loaded.document, [f"{one.name}: {one.reason}" for one in loaded.skipped]


def _allowed(home: Path, name: str) -> Path:
    project, secret = Path.cwd().resolve(), home.resolve()
    try:
        path = (project / Path(name).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError):
        raise UsageError("file_bad", f"{name[:200]!r} is no path.", "Name a file.") from None
    if not path.is_relative_to(project):
        raise UsageError(
            "outside_project",
            f"{name[:200]!r} is not in the project, {project}.",
            "Copy it into the project, or run the chain in a terminal: ricochet chain run FILE",
        )
    if path.is_relative_to(secret) or secret.is_relative_to(path):
        raise UsageError(
            "inside_home",
            f"{name[:200]!r} holds Ricochet's home with its keys, or lies in it.",
            "Name the files that hold the text.",
        )
    return path
