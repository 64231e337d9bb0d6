"""The inspector of the protocol's authors, from npm, finds no fault with `ricochet mcp`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from hardhat_project import node_folder

pytestmark = [pytest.mark.deep, pytest.mark.timeout(900)]
PACKAGE = "@modelcontextprotocol/inspector"
VERSION = "2.12.0"
INSTALL_SECONDS = 600


@pytest.fixture(scope="module")
def inspector(request: pytest.FixtureRequest) -> Path:
    """The inspector's command, installed once into pytest's cache."""
    cache = request.config.cache
    assert cache is not None
    folder = cache.mkdir("mcp-inspector")
    stamp = folder / f"installed-{VERSION}"
    with FileLock(folder / "lock", timeout=INSTALL_SECONDS):
        if not stamp.exists():
            npm = node_folder() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            (folder / "package.json").write_text('{"private": true}')
            words = ["install", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--no-audit"]
            done = node([str(npm), *words, "--no-fund", "--omit=optional"], folder, INSTALL_SECONDS)
            if done.returncode:
                pytest.skip(f"npm cannot install the inspector here: {done.stderr[-200:]}")
            stamp.touch()
    return folder / "node_modules" / PACKAGE / "clients" / "launcher" / "build" / "index.js"


def node(arguments: list[str], folder: Path, seconds: float = 120) -> Any:
    binaries = node_folder() / "bin"
    paths = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(binaries / "node"), *arguments],
        cwd=folder,
        env={**os.environ, "PATH": paths, "HOME": str(folder), "CI": "1"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def inspect(inspector: Path, folder: Path, *arguments: str, code: int = 0) -> Any:
    server = [str(Path(sys.executable).with_name("ricochet-task")), "mcp"]
    home = ["-e", f"RICOCHET_HOME={folder / 'home'}", "--cwd", str(folder)]
    done = node([str(inspector), "--cli", *home, *server, *arguments], folder)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_the_inspector_finds_no_fault(inspector: Path, tmp_path: Path) -> None:
    tools = inspect(inspector, tmp_path, "--method", "tools/list", "--strict")["tools"]
    assert len(tools) == 19

    def call(name: str, *pairs: str, code: int = 0) -> Any:
        words = [word for pair in pairs for word in ("--tool-arg", pair)]
        return inspect(
            inspector, tmp_path, "--method", "tools/call", "--tool-name", name, *words, code=code
        )

    assert call("add_task", "title=From the inspector")["structuredContent"] == {"added": "1"}
    tasks = call("list_tasks", "limit=5")["structuredContent"]["tasks"]
    assert [one["title"] for one in tasks] == ["From the inspector"]
    refused = call("chain_status", code=5)
    assert json.loads(refused["content"][0]["text"])["error"]["code"] == "no_runs"
    prompts = inspect(inspector, tmp_path, "--method", "prompts/list")["prompts"]
    assert "overview" in [one["name"] for one in prompts]
    read = ["--method", "resources/read", "--uri", "ricochet://runs"]
    assert inspect(inspector, tmp_path, *read)["contents"][0]["text"] == "[]"
    templates = inspect(inspector, tmp_path, "--method", "resources/templates/list")
    assert len(templates["resourceTemplates"]) == 4
