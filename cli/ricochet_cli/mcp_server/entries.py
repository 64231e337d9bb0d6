"""What editors are told of the server, found where each keeps its settings; nothing is started.

Settings of a project may come with a folder that somebody else made, so a command in them is only
looked at here. `checkup` starts it, for those who ask for that.
"""

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ricochet_cli.mcp_server.editors import (
    FOLDER,
    LAYOUTS,
    NAME,
    Editor,
    Scope,
    scopes,
    settings_file,
)
from ricochet_cli.mcp_server.installing import read, servers
from ricochet_protocol.errors import RicochetError
from ricochet_protocol.findings import Finding, failure


class Launch(NamedTuple):
    """How an editor starts the server, with the project's folder put in; `env` is what it adds."""

    command: str
    args: list[str]
    env: dict[str, str]
    folder: str


class Entry(NamedTuple):
    """An entry of the server's name, as it stands in the settings at `path`."""

    editor: Editor
    scope: Scope
    path: Path
    name: str
    value: Any

    @property
    def about(self) -> str:
        """What findings call it."""
        return _about(self.editor, self.scope)

    @property
    def again(self) -> str:
        """The command that writes it anew."""
        return installation(self.editor, self.scope, self.name, replace=True)

    def launch(self, project: Path) -> Launch:
        """What the editor would start; ValueError."""
        if not isinstance(self.value, dict):
            raise ValueError("the entry is not an object")
        command, words = self.value.get("command"), self.value.get("args", [])
        extra = self.value.get("env") or {}
        if not isinstance(command, str):
            raise ValueError("the entry has no command; a server by URL is not checked")
        if not (isinstance(words, list) and all(isinstance(one, str) for one in words)):
            raise ValueError("`args` is not a list of texts")
        if not (isinstance(extra, dict) and all(isinstance(one, str) for one in extra.values())):
            raise ValueError("`env` is not an object of texts")
        folder = str(project.absolute())
        return Launch(command, [one.replace(FOLDER, folder) for one in words], extra, folder)


def entries(wanted: Sequence[Editor], project: Path, name: str) -> Iterator[Entry | Finding]:
    """The entries of that name; a finding for each of the editors' files that cannot be read."""
    for editor in wanted:
        for scope in scopes(editor):
            path = settings_file(editor, scope, project)
            try:
                value = servers(read(path), LAYOUTS[editor].key).get(name)
            except RicochetError as error:
                yield failure(_about(editor, scope), error)
                continue
            if value is not None:
                yield Entry(editor, scope, path, name, value)


def look(project: Path) -> tuple[Finding, ...]:
    """Whether what editors are told of the server could be started; empty when none is."""
    return tuple(
        one if isinstance(one, Finding) else _looked_at(one, project)
        for one in entries(tuple(Editor), project, NAME)
    )


def installation(editor: Editor, scope: Scope, name: str, *, replace: bool = False) -> str:
    """The command that writes an entry; what it takes for granted is left out."""
    words = ["ricochet", "mcp", "install", "--editor", editor.value]
    if scope is not scopes(editor)[0]:
        words.append("--user")
    if name != NAME:
        words += ["--name", name]
    if replace:
        words.append("--replace")
    return shlex.join(words)


def _looked_at(entry: Entry, project: Path) -> Finding:
    try:
        launch = entry.launch(project)
    except ValueError as error:
        return Finding(entry.about, "fail", f"{entry.path}: {error}", entry.again)
    search = launch.env.get("PATH", os.environ.get("PATH", os.defpath))
    if shutil.which(launch.command, path=search) is None:
        text = f"{entry.path}: there is no program {launch.command}"
        return Finding(entry.about, "fail", text, entry.again)
    return Finding(entry.about, "ok", f"{entry.path}: `ricochet mcp doctor` starts it")


def _about(editor: Editor, scope: Scope) -> str:
    return f"{editor.value} ({scope.value})"
