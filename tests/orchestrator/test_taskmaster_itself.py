"""The real Task Master reads what we write, changes it, and we read that again."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from hardhat_project import node_folder
from ricochet_orchestrator.tasks import editing, task_file
from ricochet_orchestrator.tasks.exchange import Exchanged, export_tasks, import_tasks
from ricochet_orchestrator.tasks.status import TaskStatus

pytestmark = [pytest.mark.deep, pytest.mark.timeout(900)]
VERSION = "0.43.1"
SAMPLES = Path(__file__).parents[1] / "taskmaster"
INSTALL_SECONDS = 600


@pytest.fixture(scope="module")
def program(request: pytest.FixtureRequest) -> Path:
    """Task Master's command, installed once into pytest's cache."""
    cache = request.config.cache
    assert cache is not None
    folder = cache.mkdir("task-master-ai")
    command = folder / "node_modules" / "task-master-ai" / "dist" / "task-master.js"
    stamp = folder / f"installed-{VERSION}"
    with FileLock(folder / "lock", timeout=INSTALL_SECONDS):
        if stamp.exists():
            return command
        npm = node_folder() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        (folder / "package.json").write_text('{"private": true}')
        words = ["install", f"task-master-ai@{VERSION}", "--ignore-scripts", "--no-audit"]
        done = node([str(npm), *words, "--no-fund", "--omit=optional"], folder, INSTALL_SECONDS)
        if done.returncode:
            pytest.skip(f"npm cannot install task-master-ai here: {done.stderr[-200:]}")
        stamp.touch()
    return command


def node(arguments: list[str], folder: Path, seconds: float = 120) -> Any:
    binaries = node_folder() / "bin"
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "TASKMASTER_SKIP_AUTO_UPDATE": "1",
        "NO_COLOR": "1",
        "CI": "1",
    }
    return subprocess.run(
        [str(binaries / "node"), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def test_task_master_reads_what_we_write_and_we_read_what_it_writes(
    program: Path, tmp_path: Path
) -> None:
    file = tmp_path / ".taskmaster" / "tasks" / "tasks.json"
    file.parent.mkdir(parents=True)
    config = json.loads((SAMPLES / "config.json").read_text())
    config["global"]["anonymousTelemetry"] = False
    (tmp_path / ".taskmaster" / "config.json").write_text(json.dumps(config))
    import_tasks(tmp_path, SAMPLES / "tasks.json")
    with task_file.changing(tmp_path) as book:
        editing.set_status(book.tasks(), ["3"], TaskStatus.RUNNING, 0)
        editing.add(book.tasks(), editing.Fields(title="New"), 0, needs=["3"])
    export_tasks(tmp_path, file)

    begin = time.perf_counter()
    listed = node([str(program), "list", "--json"], tmp_path)
    print(f"task-master list: {time.perf_counter() - begin:.1f} s")
    assert listed.returncode == 0, listed.stderr
    # It prints more than JSON around its JSON.
    tree, _ = json.JSONDecoder().raw_decode(listed.stdout[listed.stdout.index("{") :])
    assert {one["id"]: one["status"] for one in tree["tasks"]} == {
        "1": "done",
        "2": "in-progress",
        "3": "in-progress",
        "PROJ-4": "review",
        "5": "deferred",
        "6": "blocked",
        "7": "pending",
    }
    words = ["set-status", "--id=6", "--status=done"]
    changed = node([str(program), *words], tmp_path)
    assert changed.returncode == 0, changed.stdout + changed.stderr

    with task_file.changing(tmp_path) as book:
        editing.edit(book.tasks(), "5", editing.Fields(title="Ours"), 0)
    before = {one["id"]: one for one in task_file.load(tmp_path).tasks()}
    # It has written every task anew, ids as text; only what it changed counts as changed.
    assert import_tasks(tmp_path, file) == Exchanged((), ("master: 6",), ())
    after = {one["id"]: one for one in task_file.load(tmp_path).tasks()}
    assert after["6"]["status"] == "completed" and after[5]["title"] == "Ours"
    untouched = [1, "2", 3, "PROJ-4", 5, 7]
    assert [after[one] for one in untouched] == [before[one] for one in untouched]
    assert export_tasks(tmp_path, file) == Exchanged((), ("master: 5",), ())
    again = node([str(program), "list", "--json"], tmp_path)
    assert again.returncode == 0 and '"Ours"' in again.stdout
