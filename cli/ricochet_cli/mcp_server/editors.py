"""Where each editor keeps its MCP servers, and how an entry of theirs looks.

Sources: the documentation of each editor, read in November 2026. Windsurf knows no settings of a
project. VS Code and Cursor put the open folder in the place of `${workspaceFolder}`.
"""

import os
import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from ricochet_cli.mcp_server.toolbox import Tier
from ricochet_protocol.errors import UsageError

FOLDER: Final = "${workspaceFolder}"
NAME: Final = "ricochet"
"""What the server is called where nobody says otherwise."""


class Editor(StrEnum):
    """Editors whose settings can be written."""

    CURSOR = "cursor"
    VSCODE = "vscode"
    CLAUDE = "claude"
    WINDSURF = "windsurf"
    ZED = "zed"


class Scope(StrEnum):
    """Whose settings: those of the project in this folder, or the user's for all projects."""

    PROJECT = "project"
    USER = "user"


class Layout(NamedTuple):
    """`project` is a file of a project; `key` is the object with the servers; `kind` is what an
    entry says besides; `folder`: the editor knows `FOLDER`."""

    project: Path | None
    key: str
    kind: dict[str, str]
    folder: bool


LAYOUTS: Final = {
    Editor.CURSOR: Layout(Path(".cursor/mcp.json"), "mcpServers", {}, folder=True),
    Editor.VSCODE: Layout(Path(".vscode/mcp.json"), "servers", {"type": "stdio"}, folder=True),
    Editor.CLAUDE: Layout(Path(".mcp.json"), "mcpServers", {"type": "stdio"}, folder=False),
    Editor.WINDSURF: Layout(None, "mcpServers", {}, folder=False),
    Editor.ZED: Layout(Path(".zed/settings.json"), "context_servers", {}, folder=False),
}


def scopes(editor: Editor) -> tuple[Scope, ...]:
    """Those that the editor has, the usual one first."""
    return (Scope.USER,) if LAYOUTS[editor].project is None else tuple(Scope)


def settings_file(editor: Editor, scope: Scope, project: Path) -> Path:
    """The file with an editor's servers; UsageError `scope_unknown`."""
    local = LAYOUTS[editor].project
    if scope is Scope.PROJECT:
        if local is None:
            raise UsageError(
                "scope_unknown",
                f"{editor.value} keeps no servers with a project.",
                f"Add --user: ricochet mcp install --editor {editor.value} --user",
            )
        return project / local
    home = Path.home()
    match editor:
        case Editor.CURSOR:
            return home / ".cursor" / "mcp.json"
        case Editor.VSCODE:
            return _application_data(home) / "Code" / "User" / "mcp.json"
        case Editor.CLAUDE:
            return home / ".claude.json"
        case Editor.WINDSURF:
            return home / ".codeium" / "windsurf" / "mcp_config.json"
        case Editor.ZED:
            return _zed(home) / "settings.json"


def entry(
    editor: Editor, scope: Scope, project: Path, home: Path | None, tier: Tier | None
) -> dict[str, Any]:
    """What the editor is told: how to start the server. `home` and `tier`: if not the usual."""
    layout = LAYOUTS[editor]
    command, *words = program()
    words.append("mcp")
    if scope is Scope.PROJECT:
        words += ["--project", FOLDER if layout.folder else str(project.absolute())]
    if tier is not None:
        words += ["--tools", tier.value]
    made: dict[str, Any] = {**layout.kind, "command": command, "args": words}
    if home is not None:
        # An editor that is started from a desktop has none of the terminal's variables.
        made["env"] = {"RICOCHET_HOME": str(home.absolute())}
    return made


def program() -> list[str]:
    """The command that starts this program from anywhere, and its first arguments."""
    beside = Path(sys.executable).parent / "ricochet-task"
    if beside.exists():
        return [str(beside)]
    found = shutil.which("ricochet-task")
    return [found] if found else [sys.executable, "-P", "-m", "ricochet_cli"]


def _application_data(home: Path) -> Path:
    if sys.platform == "darwin":
        return home / "Library" / "Application Support"
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming")
    return Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")


def _zed(home: Path) -> Path:
    if sys.platform == "win32":
        return _application_data(home) / "Zed"
    if sys.platform == "darwin":
        return home / ".config" / "zed"
    return _application_data(home) / "zed"
