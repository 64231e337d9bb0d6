"""Puts the server into an editor's settings: one member more, and not a byte less.

The file takes its place in one step, keeps its mode, and is followed through links. If it changed
while it was being edited, nothing is written.
"""

import difflib
import os
import stat
import tempfile
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from ricochet_cli.mcp_server.settings_text import NotJsonError, parse, with_member
from ricochet_protocol.errors import LocalFault, UsageError

MAX_FILE: Final = 32 * 1024 * 1024
State = Literal["added", "replaced", "unchanged"]


class Settings(NamedTuple):
    """An editor's file as it was read; `data` is None when there is none. `text` ends its lines
    with line feeds only, unless it mixes them."""

    path: Path
    data: bytes | None
    text: str
    windows: bool

    def written(self, text: str) -> bytes:
        """A text as this file has its own."""
        return (text.replace("\n", "\r\n") if self.windows else text).encode()


class Change(NamedTuple):
    """What is to become of a file."""

    settings: Settings
    state: State
    data: bytes

    def difference(self) -> str:
        """For people: lines that go and come."""
        before, after = (
            one.decode("utf-8", "replace").splitlines(keepends=True)
            for one in (self.settings.data or b"", self.data)
        )
        path = str(self.settings.path)
        return "".join(difflib.unified_diff(before, after, path, path, n=2))


def read(path: Path) -> Settings:
    """An editor's settings; UsageError `settings_unreadable`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return Settings(path, None, "", windows=False)
    except OSError as error:
        raise unreadable(path, error.strerror or "it cannot be read") from None
    if len(data) > MAX_FILE:
        raise unreadable(path, "it is larger than 32 MiB")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise unreadable(path, "it is not text in UTF-8") from None
    windows = "\r\n" in text and text.count("\r\n") == text.count("\n")
    return Settings(path, data, text.replace("\r\n", "\n") if windows else text, windows)


def servers(settings: Settings, key: str) -> dict[str, Any]:
    """The servers in settings, by name; UsageError `settings_unreadable`."""
    found = _parsed(settings)
    if not isinstance(found, dict) or not isinstance(found.get(key, {}), dict):
        raise unreadable(settings.path, f"`{key}` is not an object")
    held: dict[str, Any] = found.get(key, {})
    return held


def change(
    settings: Settings, key: str, name: str, entry: dict[str, Any], *, replace: bool
) -> Change:
    """The settings with an entry; UsageError `entry_exists` when there is another of its name."""
    present = servers(settings, key).get(name)
    if present == entry:
        return Change(settings, "unchanged", settings.data or b"")
    if present is not None and not replace:
        raise UsageError(
            "entry_exists",
            f"{settings.path} has a server {name!r} already, which is started otherwise.",
            "Look at it with --dry-run --replace; --replace replaces it, --name adds another.",
        )
    before = _parsed(settings)
    text = with_member(settings.text, (key, name), entry)
    wanted = {**before, key: {**before.get(key, {}), name: entry}}
    if parse(text).value != wanted:
        raise unreadable(settings.path, "an entry cannot be put in without changing the rest")
    return Change(settings, "added" if present is None else "replaced", settings.written(text))


def apply(done: Change) -> None:
    """Write it; LocalFault `file_unwritable`, or `settings_changed` if somebody else has."""
    if done.state == "unchanged":
        return
    path = done.settings.path.resolve()
    if read(done.settings.path).data != done.settings.data:
        raise LocalFault(
            "settings_changed", f"{path} has just been changed by another.", "Do it again."
        )
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(done.data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise LocalFault(
            "file_unwritable", f"{path} cannot be written: {error.strerror}.", "Check permissions."
        ) from None


def unreadable(path: Path, problem: str) -> UsageError:
    """The error for a file that is left alone."""
    return UsageError(
        "settings_unreadable",
        f"{path} was left alone: {problem}.",
        "Mend it in the editor; `ricochet mcp install --dry-run` shows what is to be put in.",
    )


def _parsed(settings: Settings) -> Any:
    if not settings.text.lstrip("\ufeff").strip():
        return {}
    try:
        return parse(settings.text).value
    except NotJsonError as error:
        raise unreadable(settings.path, str(error)) from None
