"""The bytes of what a user names: files, folders and standard input, bounded and whole.

A folder is walked in a stable order. Hidden entries, links and what a `.gitignore` excludes are
left out, and each of them is told of. A file that changes while it is read is refused: half of the
old and half of the new is a document that never was.
"""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

import msgspec
from pathspec import GitIgnoreSpec

from ricochet_protocol.errors import UsageError

STDIN: Final = Path("-")
STDIN_NAME: Final = "standard input"
MAX_FILE: Final = 64 * 1024 * 1024
"""Bytes of one file. A book is one or two million, a PDF of scanned pages some ten."""
MAX_FILES: Final = 10_000
"""Files of one folder: more is hardly meant."""
_IGNORE: Final = ".gitignore"


class Skipped(msgspec.Struct, frozen=True):
    """What a folder holds that was not read, and why."""

    name: str
    reason: str


class Found(msgspec.Struct, frozen=True):
    """A file below a folder, `name` relative to it."""

    name: str
    path: Path


def read(path: Path) -> bytes:
    """The bytes of a file, or of standard input for `-`; UsageError if that cannot be had whole."""
    if path == STDIN:
        return read_bounded(sys.stdin.buffer, STDIN_NAME)
    try:
        with path.open("rb") as file:
            return read_whole(file, str(path))
    except FileNotFoundError:
        raise UsageError(
            "document_missing", f"There is no file {path}.", "Check the path and run it again."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            "document_unreadable",
            f"{path} cannot be read: {reason}.",
            "Check the path and the file's permissions.",
        ) from None


def read_whole(file: BinaryIO, name: str) -> bytes:
    """The bytes of an open file; UsageError when it is too large or changes meanwhile."""
    before = os.fstat(file.fileno())
    if stat.S_ISREG(before.st_mode) and before.st_size > MAX_FILE:
        raise _too_large(name)
    data = read_bounded(file, name)
    after = os.fstat(file.fileno())
    regular = stat.S_ISREG(before.st_mode)
    changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    if regular and (changed or len(data) != after.st_size):
        raise UsageError(
            "document_changed",
            f"{name} changed while it was read.",
            "Run it again when the file is complete, or give a copy of it.",
        )
    return data


def read_bounded(file: BinaryIO, name: str) -> bytes:
    """All bytes of a stream; UsageError once they are more than a document may have."""
    data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise _too_large(name)
    return data


def walk(folder: Path) -> Iterator[Found | Skipped]:
    """The files below a folder in the order of their names, and what was left out."""
    found = 0
    for entry in _walk(folder.absolute(), PurePosixPath(), _ignores_above(folder)):
        if isinstance(entry, Found):
            found += 1
            if found > MAX_FILES:
                raise UsageError(
                    "folder_too_large",
                    f"{folder} holds more than {MAX_FILES:,} files.",
                    "Name the folders or files inside it that you mean.",
                )
        yield entry


_Rules = tuple[tuple[Path, GitIgnoreSpec], ...]


def _walk(folder: Path, inside: PurePosixPath, rules: _Rules) -> Iterator[Found | Skipped]:
    rules = (*rules, *_ignores_of(folder))
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        yield Skipped(f"{inside}/", error.strerror or str(error))
        return
    for path in entries:
        name = inside / path.name
        kind = _kind(path)
        shown = f"{name}/" if kind == "folder" else str(name)
        reason = _reason(path, kind, rules)
        if reason is not None:
            yield Skipped(shown, reason)
        elif kind == "folder":
            yield from _walk(path, name, rules)
        else:
            yield Found(shown, path)


def _kind(path: Path) -> str:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return "unreadable"
    if stat.S_ISLNK(mode):
        return "a link"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "not a regular file"


def _reason(path: Path, kind: str, rules: _Rules) -> str | None:
    """Why an entry of a folder is left out, None if it is not."""
    if path.name.startswith("."):
        return "hidden"
    if kind not in ("file", "folder"):
        return kind
    for base, spec in reversed(rules):
        relative = path.relative_to(base).as_posix() + ("/" if kind == "folder" else "")
        verdict = spec.check_file(relative).include
        if verdict is not None:
            return f"excluded by {_IGNORE}" if verdict else None
    return None


def _ignores_above(folder: Path) -> _Rules:
    """The rules of the folders above, if the folder lies in a repository."""
    above: list[tuple[Path, GitIgnoreSpec]] = []
    here = folder.absolute()
    if (here / ".git").exists():
        return ()
    for parent in here.parents:
        above.extend(_ignores_of(parent))
        if (parent / ".git").exists():
            return tuple(reversed(above))
    return ()


def _ignores_of(folder: Path) -> _Rules:
    try:
        lines = (folder / _IGNORE).read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    return ((folder.absolute(), GitIgnoreSpec.from_lines(lines)),)


def _too_large(name: str) -> UsageError:
    return UsageError(
        "document_too_large",
        f"{name} is larger than {MAX_FILE // 1024 // 1024} MiB.",
        "Split it into several files, and run a chain over each.",
    )
