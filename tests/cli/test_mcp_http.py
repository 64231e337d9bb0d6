"""The MCP server over HTTP: for whoever has the token, and for no page."""

import json
import signal
import stat
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_stage import MODES, Mode, result_of, talk

from live import start
from ricochet_cli.main import main

HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "1"},
    },
}


class Served:
    """A running server."""

    def __init__(self, url: str, token: str, project: Path) -> None:
        self.url = url
        self.token = token
        self.project = project

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @asynccontextmanager
    async def transport(self) -> Any:
        async with (
            httpx2.AsyncClient(headers=self.bearer) as http,
            streamable_http_client(self.url, http_client=http) as streams,
        ):
            yield streams

    def post(self, **changed: str) -> httpx2.Response:
        headers = {"Accept": "application/json, text/event-stream", **self.bearer}
        headers = {name: value for name, value in (headers | changed).items() if value}
        return httpx2.post(self.url, json=HELLO, headers=headers)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home, project = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("project")
    process = start("mcp", "--http", "--port", "0", "--json", "--project", str(project), home=home)
    try:
        assert process.stdout
        said = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        file = Path(said["token_file"])
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        yield Served(said["url"], file.read_text().strip(), project)
    finally:
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=30)
    assert (process.returncode, rest) == (0, ""), errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("mode", MODES)
def test_the_sdk_speaks_with_it_in_both_protocols(served: Served, mode: Mode) -> None:
    told: list[Any] = []

    async def heard(*progress: Any) -> None:
        told.append(progress)

    async def scene(client: Client) -> Any:
        await client.call_tool("add_task", {"title": f"by {mode}"})
        error = await client.call_tool("monitor_chain", {}, progress_callback=heard)
        tasks = await client.call_tool("list_tasks", {})
        return client.protocol_version, result_of(error)[0], result_of(tasks)[0]

    version, error, tasks = talk(served.transport(), scene, mode)
    assert version == {"auto": "2026-07-28", "legacy": "2025-11-25"}[mode]
    assert error["code"] == "no_runs" and told == []
    assert f"by {mode}" in [one["title"] for one in tasks["tasks"]]
    assert (served.project / ".ricochet" / "tasks.json").exists()


def test_the_token_opens_it(served: Served) -> None:
    assert served.post().status_code == 200
    assert served.post(Host=served.url.split("/")[2].replace("127.0.0.1", "localhost")).is_success


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"Authorization": ""}, 401, "token_needed"),
        ({"Authorization": "Bearer " + "0" * 64}, 401, "token_needed"),
        ({"Authorization": "Basic {token}"}, 401, "token_needed"),
        ({"Authorization": "{token}"}, 401, "token_needed"),
        ({"Host": "evil.example"}, 403, "forbidden_host"),
        ({"Host": "127.0.0.1"}, 403, "forbidden_host"),
        ({"Host": "evil.example:{port}"}, 403, "forbidden_host"),
        ({"Origin": "https://evil.example"}, 403, "forbidden_origin"),
        ({"Origin": "http://127.0.0.1:{port}"}, 403, "forbidden_origin"),
        ({"Origin": "null"}, 403, "forbidden_origin"),
    ],
)
def test_nobody_else_gets_in(
    served: Served, changed: dict[str, str], status: int, code: str
) -> None:
    port = served.url.split(":")[2].split("/")[0]
    filled = {name: value.format(token=served.token, port=port) for name, value in changed.items()}
    answer = served.post(**filled)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert served.token not in answer.text


def test_what_is_no_call_is_refused(served: Served) -> None:
    elsewhere = served.url.removesuffix("/mcp")
    assert httpx2.get(f"{elsewhere}/", headers=served.bearer).status_code == 404
    headers = {"Accept": "application/json, text/event-stream", **served.bearer}
    kinds = {**headers, "Content-Type": "application/json"}
    assert httpx2.post(served.url, content=b"{", headers=kinds).status_code == 400
    assert httpx2.post(served.url, content=b"a=b", headers=headers).status_code == 400
    huge = b'"' + b"x" * 5_000_000 + b'"'
    assert httpx2.post(served.url, content=huge, headers=kinds).status_code == 413


def refused(home: Path, port: str, capsys: pytest.CaptureFixture[str]) -> Any:
    code = main(["mcp", "--http", "--port", port, "--json", "--home", str(home)])
    captured = capsys.readouterr()
    assert captured.out == ""
    return code, json.loads(captured.err)["error"]


def test_a_port_that_is_taken_is_told(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = refused(tmp_path, served.url.split(":")[2].split("/")[0], capsys)
    assert (code, error["code"]) == (1, "port_in_use") and "--port" in error["hint"]


def test_a_token_that_others_can_read_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mcp.token").write_text("ab" * 32)
    (tmp_path / "mcp.token").chmod(0o644)
    code, error = refused(tmp_path, "0", capsys)
    assert (code, error["code"]) == (3, "file_exposed") and "chmod 600" in error["hint"]
