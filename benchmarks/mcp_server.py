"""The MCP server as an editor meets it: `python benchmarks/mcp_server.py [CALLS]`. Prints JSON.

Cold: the time from starting the process to the answers to `initialize` and `tools/list`, the best
and the middle one of several. Then CALLS (1,000) light calls on one server, one after another: the
middle and the worst time, by tool, and whether a byte on stdout was not the protocol's. The home
has a finished run, the project a hundred tasks.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "orchestrator")]

from orchestrator_stage import Stage, numbered, play  # noqa: E402

from ricochet_orchestrator.tasks import editing, task_file  # noqa: E402

STARTS = 5
CALLS = 1000
TASKS = 100
SEGMENTS = 8
LIGHT: dict[str, dict[str, Any]] = {
    "chain_list": {},
    "chain_status": {},
    "monitor_chain": {},
    "chain_result": {},
    "list_tasks": {"limit": 20},
    "next_task": {},
    "set_task_status": {"tasks": ["7"], "status": "ready"},
    "show_models": {},
    "ricochet_status": {},
}


class Client:
    """Speaks the protocol line by line, and keeps what it got."""

    def __init__(self, home: Path, project: Path) -> None:
        self.begin = time.perf_counter()
        self.bytes = 0
        self.stray = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ricochet_cli", "mcp", "--project", str(project)],
            env={**os.environ, "RICOCHET_HOME": str(home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._number = 0

    def tell(self, method: str, **params: Any) -> None:
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def ask(self, method: str, **params: Any) -> Any:
        self._number += 1
        message = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        self._send(message)
        assert self._process.stdout
        while True:
            line = self._process.stdout.readline()
            if not line:
                raise SystemExit("the server has ended")
            answer = self._protocol(line)
            if answer is not None and answer.get("id") == self._number:
                return answer["result"]

    def end(self) -> None:
        rest, _ = self._process.communicate(timeout=30)
        for line in rest.splitlines(keepends=True):
            self._protocol(line)

    def _send(self, message: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _protocol(self, line: bytes) -> Any:
        self.bytes += len(line)
        try:
            message = json.loads(line)
            if line.endswith(b"\n") and message["jsonrpc"] == "2.0":
                return message
        except (ValueError, KeyError, TypeError):
            pass
        self.stray += len(line)
        return None


def started(home: Path, project: Path) -> tuple[Client, float]:
    """A server with which hands were shaken and whose tools are known, and the seconds of it."""
    client = Client(home, project)
    hello = {"name": "benchmark", "version": "1"}
    client.ask("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=hello)
    client.tell("notifications/initialized")
    tools = client.ask("tools/list")["tools"]
    took = time.perf_counter() - client.begin
    assert len(tools) == 19
    return client, took


def measured(home: Path, project: Path, calls: int) -> dict[str, Any]:
    cold = []
    for _ in range(STARTS):
        client, took = started(home, project)
        cold.append(took)
        client.end()
    client, _ = started(home, project)
    times: dict[str, list[float]] = {name: [] for name in LIGHT}
    names = list(LIGHT)
    for number in range(calls + len(names)):
        name = names[number % len(names)]
        begin = time.perf_counter()
        result = client.ask("tools/call", name=name, arguments=LIGHT[name])
        took = time.perf_counter() - begin
        assert not result.get("isError"), result
        # The first call of each loads modules.
        if number >= len(names):
            times[name].append(1000 * took)
    client.end()
    everything = [one for found in times.values() for one in found]
    return {
        "cold_seconds": {"best": round(min(cold), 2), "middle": round(statistics.median(cold), 2)},
        "calls": len(everything),
        "milliseconds": round(statistics.median(everything), 2),
        "by_tool": {
            name: {"middle": round(statistics.median(found), 2), "worst": round(max(found), 2)}
            for name, found in times.items()
        },
        "stdout_bytes": client.bytes,
        "stray_bytes": client.stray,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The MCP server as an editor meets it.")
    parser.add_argument("calls", nargs="?", type=int, default=CALLS, help="light calls in all")
    calls = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as folder:
        home, project = Path(folder) / "home", Path(folder) / "project"
        home.mkdir()
        project.mkdir()
        stage = Stage(home)
        stage.node(0)
        play(stage, numbered(SEGMENTS))
        with task_file.changing(project) as book:
            for number in range(TASKS):
                editing.add(book.tasks(), editing.Fields(title=f"Task {number}"), time.time())
        print(json.dumps(measured(home, project, calls), indent=2))


if __name__ == "__main__":
    main()
