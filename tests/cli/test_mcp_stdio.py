"""`ricochet mcp` as an editor starts it: nothing but the protocol on stdout, whatever happens."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_stage import MODES, Mode, command, joined, result_of, talk

from live import environment, until
from ricochet_cli.main import main
from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.control import Runs

CALLS = 100
NOISE = """
import atexit, os, subprocess, sys, threading, time

def noise():
    while sys.stdout is not sys.stderr:  # until the server has claimed its wire
        time.sleep(0.001)
    subprocess.run(["echo", "noise of a child"])
    while True:
        print("noise of a library")
        os.write(1, b"noise of C code")
        time.sleep(0.02)

threading.Thread(target=noise, daemon=True).start()
atexit.register(print, "noise at the end")
atexit.register(os.write, 1, b"more noise at the end")
"""


class Raw:
    """A server and its streams, without a client library between."""

    def __init__(self, home: Path, project: Path, **extra: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ricochet_cli", "mcp", "--project", str(project)],
            env=environment(home, **extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines: list[bytes] = []
        self.answers: dict[Any, Any] = {}

    def send(self, *lines: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(b"".join(line + b"\n" for line in lines))
        self.process.stdin.flush()

    def ask(self, number: int, method: str, **params: Any) -> None:
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        self.send(json.dumps(message).encode())

    def answer(self, number: int) -> Any:
        """Answers come in any order."""
        assert self.process.stdout
        while number not in self.answers:
            line = self.process.stdout.readline()
            assert line, self.process.stderr and self.process.stderr.read().decode()
            self.lines.append(line)
            message = json.loads(line)
            self.answers[message.get("id")] = message
        return self.answers[number]

    def shake_hands(self) -> Any:
        client = {"name": "raw", "version": "1"}
        self.ask(0, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
        hello = self.answer(0)["result"]
        self.send(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')
        return hello

    def end(self) -> bytes:
        """Close the wire; what else was on it. The process ends by itself."""
        rest, errors = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, errors.decode()
        self.lines += rest.splitlines(keepends=True)
        return errors


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_noisy_process_keeps_its_wire_clean_and_its_work_goes_on(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOISE)
    home, project = joined(tmp_path / "home"), tmp_path / "project"
    project.mkdir()
    raw = Raw(home, project, PYTHONPATH=str(tmp_path))
    try:
        hello = raw.shake_hands()
        assert hello["serverInfo"]["name"] == "ricochet" and "chain_run" in hello["instructions"]
        raw.send(b"{", b"", b"[]", b'"text"', b"\xff\xfe", b"null", b'{"jsonrpc": "2.0"}')
        raw.send(b'{"jsonrpc": "2.0", "id": 9000, "method": "tools/call", "params": {"name": 7}}')
        assert raw.answer(9000)["error"]
        title = "\ud800"  # half a character, which JSON can spell and no text can be
        raw.ask(9001, "tools/call", name="add_task", arguments={"title": title})
        for number in range(1, CALLS + 1):
            raw.ask(number, "tools/call", name="list_tasks", arguments={"limit": number})
        for number in range(1, CALLS + 1):
            assert not raw.answer(number)["result"].get("isError")
        raw.ask(9002, "tools/call", name="chain_run", arguments={"text": "Go on without me."})
        run = raw.answer(9002)["result"]["structuredContent"]["run"]["id"]
    finally:
        errors = raw.end()
    assert errors.count(b"noise of a library") and b"noise of a child" in errors
    assert b"noise at the end" in errors
    for line in raw.lines:
        assert line.endswith(b"\n") and json.loads(line)["jsonrpc"] == "2.0"
    assert b"noise" not in b"".join(raw.lines)

    def ended() -> bool:
        with Runs(home) as runs:
            record = runs.record(run)
            return record.status is RunStatus.PAUSED and "chain" in record.error

    until(ended, "the worker of a run to find out, after its server is gone, that nobody is there")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", MODES)
def test_the_sdk_speaks_with_it_in_both_protocols(tmp_path: Path, mode: Mode) -> None:
    async def scene(client: Client) -> Any:
        tools = (await client.list_tools()).tools
        status, _ = result_of(await client.call_tool("ricochet_status", {}))
        return client.protocol_version, len(tools), status

    parameters = command(tmp_path / "home", tmp_path, RICOCHET_MCP_TOOLS="core")
    version, tools, status = talk(parameters, scene, mode)
    assert version == {"auto": "2026-07-28", "legacy": "2025-11-25"}[mode]
    assert tools == 9
    assert (status["project"], status["home"]) == (str(tmp_path), str(tmp_path / "home"))


@pytest.mark.parametrize(
    "arguments", [["--tools", "most"], ["--project", "/nowhere"], ["--colour"], ["serve"]]
)
def test_options_that_cannot_be_are_refused_before_anything_is_served(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mcp", *arguments]) == 2
    assert capsys.readouterr().out == ""
