"""Each tool of the MCP server: what it returns, and what it says to what it cannot do."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_stage import MODES, Mode, called, joined, result_of, server_of, talk

from mcp_document import PATH, with_table
from orchestrator.orchestrator_stage import Stage, numbered, play
from ricochet_cli.main import main
from ricochet_cli.mcp_server.open_runs import OpenRuns
from ricochet_cli.mcp_server.toolbox import TOOLS, Tier, shown
from ricochet_orchestrator import worker
from ricochet_orchestrator.control import Runs
from ricochet_orchestrator.tasks import task_file
from ricochet_orchestrator.text_seal import PASSPHRASE_FILE
from ricochet_protocol.errors import UsageError


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("mode", MODES)
def test_each_tier_shows_its_tools_with_what_they_may_do(
    home: Path, tier: Tier, mode: Mode
) -> None:
    async def scene(client: Client) -> Any:
        return (await client.list_tools()).tools

    tools = talk(server_of(home, tier), scene, mode)
    assert [one.name for one in tools] == list(shown(tier))
    for one in tools:
        assert one.title and one.description and one.annotations
        assert one.annotations.destructive_hint == TOOLS[one.name].effect.destroys
        assert one.annotations.read_only_hint == TOOLS[one.name].effect.reads_only
        assert one.input_schema["additionalProperties"] is False
        assert one.output_schema and one.output_schema["type"] == "object"
        for name, about in one.input_schema["properties"].items():
            assert set(about) & {"description", "enum", "anyOf"}, (one.name, name)


def test_tiers_hold_one_another() -> None:
    core, standard, everything = (shown(tier) for tier in Tier)
    assert set(core) < set(standard) < set(everything) == set(TOOLS)
    assert len(everything) == 19


def test_a_project_is_set_up_and_its_status_shown(
    home: Path, project: Path, tmp_path: Path
) -> None:
    status, text = called(home, "ricochet_status")
    assert (
        not any(part["ready"] for part in status["parts"] if part["about"] != "chains"[:0]) or text
    )
    ready = {part["about"]: part["ready"] for part in status["parts"]}
    assert ready == {"network": False, "wallet": False, "models": True, "chains": True}
    assert status["next"][0] == "ricochet network join FILE" and "→" in text
    other = joined(tmp_path / "other")
    made, text = called(home, "ricochet_init", network_file=str(other / "network.json"))
    assert made["made"] == [str(home / "network.json"), str(project / ".ricochet")]
    assert made["network"] and "ricochet wallet new" in made["next"] and "terminal" in text
    again, text = called(home, "ricochet_init")
    assert again["made"] == [] and "already" in text
    file = tmp_path / "third.json"
    file.write_text((home / "network.json").read_text().replace('"chain_id": 1', '"chain_id": 2'))
    error, _ = called(home, "ricochet_init", network_file=str(file))
    assert error["code"] == "other_network"
    error, _ = called(home, "ricochet_init", network_file="nowhere.json")
    assert error["code"] == "no_network"


def test_chains_are_listed_and_made(home: Path, project: Path) -> None:
    found, text = called(home, "chain_list")
    questions = next(one for one in found["chains"] if one["name"] == "questions")
    assert "question" in questions["parameters"] and "questions (research → main)" in text
    made, _ = called(home, "chain_create", name="mine", models={"analyzer": "m"})
    assert Path(made["path"]) == project / ".ricochet" / "chains" / "mine.yaml"
    assert "m" in made["models"].values()
    assert called(home, "chain_create", name="mine")[0]["code"] == "chain_exists"
    assert called(home, "chain_create", name="mine", replace=True)[0]["name"] == "mine"
    assert called(home, "chain_create", name="../up")[0]["code"] == "chain_invalid"
    assert called(home, "chain_create", name="x", source="overvieu")[0]["code"] == "chain_unknown"
    assert "mine" in [one["name"] for one in called(home, "chain_list")[0]["chains"]]
    file = project / ".ricochet" / "chains" / "mine.yaml"
    file.write_text(file.read_text().replace("description: ", "description: Mine. "))
    assert "Mine. " in called(home, "chain_list")[1], "an edit is seen"
    file.write_text("name: mine\ncolour: red\n")
    error, _ = called(home, "chain_list")
    assert error["code"] == "chain_invalid" and "colour" in error["message"]


def test_runs_are_seen_from_all_sides(home: Path) -> None:
    assert called(home, "chain_status")[0]["code"] == "no_runs"
    home.mkdir()
    stage = Stage(home)
    stage.node(0)
    done = play(stage, numbered(3))
    status, text = called(home, "chain_status")
    assert status["run"]["id"] == done.run_id and status["run"]["status"] == "completed"
    assert (status["done"], status["steps"]) == (4, 4) and status["troubles"] == []
    assert [one["calls"] for one in status["stages"]] == [{"completed": 3}, {"completed": 1}]
    assert "4/4 steps" in text
    result, text = called(home, "chain_result", run=done.run_id)
    assert result["output"] == done.output and result["cost"] == done.cost
    assert text.startswith(done.output)
    view, text = called(home, "monitor_chain", wait_seconds=50)
    assert (view["percent"], view["status"], view["left"]) == (100, "completed", None)
    assert "Progress: [▓▓▓" in text and "100%" in text
    with Runs(home) as runs:
        step = runs.state(None).steps[0]
    view, text = called(home, "monitor_task", id=step.id[:8])
    assert view["step"] == step.id and view["roles"] == ["analyzer"] and "Step " in text
    assert called(home, "monitor_task", id=done.run_id)[0]["code"] == "step_unknown"
    assert called(home, "monitor_task", id="nothing")[0]["code"] == "run_unknown"
    assert called(home, "chain_result", run="nothing")[0]["code"] == "run_unknown"
    status, _ = called(home, "ricochet_status")
    assert (status["runs"], status["at_work"]) == (1, [])


def test_a_store_that_was_replaced_or_encrypted_is_opened_anew(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    stage = Stage(home)
    stage.node(0)
    first = play(stage, numbered(1))
    held = OpenRuns(home)
    try:
        with held.look() as runs:
            assert runs.record(None).id == first.run_id
        with held.look() as again:
            assert again is runs, "it stays open"
        home.rename(tmp_path / "elsewhere")
        with pytest.raises(UsageError), held.look():
            pass
        home.mkdir()
        stage = Stage(home)
        stage.node(0)
        second = play(stage, numbered(2))
        with held.look() as runs:
            assert runs.record(None).id == second.run_id
        phrase = tmp_path / "phrase"
        phrase.write_text("correct horse battery staple")
        monkeypatch.setenv(PASSPHRASE_FILE, str(phrase))
        words = ["--passphrase-file", str(phrase), "--home", str(home)]
        assert main(["chain", "encryption", "on", *words]) == 0
        with held.look() as runs:
            assert runs.state(None).result.output == second.output
    finally:
        held.close()


def test_looking_on_tells_progress_until_the_time_is_over(home: Path) -> None:
    home.mkdir()
    stage = Stage(home)
    stage.node(0)
    play(stage, numbered(1))
    told: list[tuple[float, float | None, str | None]] = []

    async def heard(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total, message))

    async def scene(client: Client) -> Any:
        return await client.call_tool("monitor_chain", {}, progress_callback=heard)

    for mode in MODES:
        told.clear()
        assert not talk(server_of(home), scene, mode).is_error
        assert told == [(2, 2, "completed, 100%: analyzer, integrator")]


def test_a_run_is_entered_and_its_id_comes_at_once(
    home: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined(home)
    started: list[str] = []
    monkeypatch.setattr(worker, "start_worker", lambda _, run_id: started.append(run_id))
    (project / "report.txt").write_text("A report. " * 50)
    run, text = called(home, "chain_run", files=["report.txt"], max_cost="0.25")
    assert started == [run["run"]["id"]] and run["run"]["status"] == "pending"
    assert run["run"]["document"] == "report.txt" and started[0] in text
    again, _ = called(home, "chain_run", files=[str(project / "report.txt")])
    assert again["run"]["id"] == started[0], "the same request goes on with its run"
    other, _ = called(
        home,
        "chain_run",
        text="From the chat.",
        chain="questions",
        parameters={"question": "What?"},
    )
    assert other["run"]["document"] == "chat" and len(set(started)) == 2
    view, text = called(home, "monitor_chain", run=started[0])
    assert view["status"] == "pending" and "Status:" in text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({}, "document_needed"),
        ({"files": ["a.txt"], "text": "b"}, "document_needed"),
        ({"files": []}, "document_needed"),
        ({"text": " \n"}, "document_empty"),
        ({"files": ["nowhere.txt"]}, "document_missing"),
        ({"files": ["/etc/passwd"]}, "outside_project"),
        ({"files": ["../home/wallet.json"]}, "outside_project"),
        ({"files": ["link.txt"]}, "outside_project"),
        ({"files": ["a\x00b"]}, "file_bad"),
        ({"text": "x", "chain": "overvieu"}, "chain_unknown"),
        ({"text": "x", "chain": "questions"}, "parameter_missing"),
        ({"text": "x", "parameters": {"a": "b"}}, "parameter_unknown"),
        ({"text": "x", "max_cost": "many"}, "bad_amount"),
        ({"text": "x", "max_cost": 1}, "arguments_invalid"),
        ({"text": "x", "max_time": -1}, "arguments_invalid"),
        ({"text": "x", "chane": "overview"}, "arguments_invalid"),
        ({"text": ["x"]}, "arguments_invalid"),
    ],
)
def test_what_a_run_cannot_be_made_of_is_told(
    home: Path, project: Path, arguments: dict[str, Any], code: str
) -> None:
    joined(home)
    (project / "link.txt").symlink_to("/etc/passwd")
    (project / "a.txt").write_text("a")
    assert called(home, "chain_run", **arguments)[0]["code"] == code
    assert not (home / "runs.db").exists()


def test_a_home_inside_the_project_is_never_read(project: Path) -> None:
    home = joined(project / "me")
    for name in ("me/wallet.json", "me", "."):
        assert called(home, "chain_run", files=[name])[0]["code"] == "inside_home"


def test_tasks_are_kept(home: Path, project: Path) -> None:
    assert called(home, "list_tasks")[0] == {"tag": "master", "total": 0, "tasks": []}
    assert called(home, "next_task")[0]["task"] is None
    assert called(home, "add_task", title="Write it", priority="high")[0] == {"added": "1"}
    called(home, "add_task", title="Read it", dependencies=["1"], details="Slowly.")
    assert called(home, "add_task", title="A part", parent="1")[0] == {"added": "1.1"}
    found, text = called(home, "list_tasks", view="blocked")
    assert [one["id"] for one in found["tasks"]] == ["2"] and "waits for 1" in text
    assert called(home, "next_task")[0]["task"]["title"] == "Write it"
    changed, _ = called(home, "set_task_status", tasks=["1"], status="completed")
    assert changed == {"changed": ["1", "1.1"]}
    following, text = called(home, "next_task")
    assert following["task"]["details"] == "Slowly." and "Slowly." in text
    found, text = called(home, "list_tasks", with_subtasks=True, limit=1)
    assert found["total"] == 3 and len(found["tasks"]) == 1 and "2 more." in text
    view, text = called(home, "monitor_task", id="2")
    assert (view["task"], view["status"]) == ("2", "ready") and "Read it" in text
    with task_file.changing(project) as book:
        book.tasks()[1]["metadata"] = {
            "ricochet": {"model": "m", "metrics": {"tokens_input": 7, "duration_ms": 1500}}
        }
    view, _ = called(home, "monitor_task", id="2")
    assert (view["models"], view["tokens_in"], view["seconds"]) == (["m"], 7, 1.5)


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("add_task", {"title": " "}, "title_missing"),
        ("add_task", {}, "arguments_invalid"),
        ("add_task", {"title": "a", "dependencies": ["9"]}, "task_unknown"),
        ("add_task", {"title": "a", "parent": "9"}, "task_unknown"),
        ("add_task", {"title": "a", "tag": "b"}, "tag_unknown"),
        ("add_task", {"title": "a" * 5_000_000}, "text_too_long"),
        ("set_task_status", {"tasks": ["9"], "status": "ready"}, "task_unknown"),
        ("set_task_status", {"tasks": [], "status": "ready"}, "arguments_invalid"),
        ("set_task_status", {"tasks": ["1"], "status": "done"}, "arguments_invalid"),
        ("list_tasks", {"limit": 0}, "arguments_invalid"),
        ("analyze_complexity", {}, "no_tasks"),
        ("analyze_complexity", {"tasks": ["9"]}, "task_unknown"),
        ("no_such_tool", {}, "tool_unknown"),
    ],
)
def test_what_cannot_be_done_with_tasks_is_told(
    home: Path, project: Path, name: str, arguments: dict[str, Any], code: str
) -> None:
    assert called(home, name, **arguments)[0]["code"] == code
    assert not (project / ".ricochet" / "tasks.json").exists()


def test_a_broken_task_file_is_told_and_left_alone(home: Path, project: Path) -> None:
    file = project / ".ricochet" / "tasks.json"
    file.parent.mkdir()
    file.write_text('{"version": 1, "tags": ')
    assert called(home, "add_task", title="a")[0]["code"] == "tasks_invalid"
    assert file.read_text() == '{"version": 1, "tags": '
    status, _ = called(home, "ricochet_status")
    assert {part["about"]: part["ready"] for part in status["parts"]}["tasks"] is False


def test_models_are_shown_and_set(home: Path, project: Path) -> None:
    roles, text = called(home, "show_models")
    assert roles["available"] is None and roles["roles"][0]["role"] == "main"
    assert "what most peers offer" in text
    found, _ = called(home, "models_setup", models={"analyzer": "m"})
    assert {one["role"]: one["model"] for one in found["roles"]}["analyzer"] == "m"
    saved = json.loads((project / ".ricochet" / "models.json").read_text())
    assert saved["roles"] == {"analyzer": {"model": "m"}}
    assert called(home, "models_setup", models={"No Role": "m"})[0]["code"] == "models_bad"
    assert called(home, "models_setup", models={"main": ""})[0]["code"] == "models_bad"
    assert called(home, "models_list")[0]["roles"] == found["roles"]


def test_rating_enters_its_run_and_starts_a_process_for_it(
    home: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ricochet_orchestrator.tasks import rating_worker

    joined(home)
    started: list[tuple[str, rating_worker.Order]] = []
    monkeypatch.setattr(
        rating_worker, "start", lambda _, run_id, order: started.append((run_id, order))
    )
    called(home, "add_task", title="Hard")
    run, text = called(home, "analyze_complexity", max_cost="0.10")
    run_id, order = started[0]
    assert run["run"]["id"] == run_id and run_id in text
    assert (order.project, order.tag, order.refs, order.cap) == (project, "master", (), 100_000)


def test_what_needs_the_network_says_what_is_missing(home: Path) -> None:
    for name in ("network_status", "subscription_status"):
        assert called(home, name)[0]["code"] in ("no_network", "no_wallet")
    assert called(home, "models_list", available=True)[0]["code"] == "no_network"
    assert called(home, "chain_run", text="x")[0]["code"] == "no_network"
    joined(home)
    assert called(home, "subscription_status")[0]["code"] == "chain_unreachable"


SECRET = "a sentence of the document"
HOSTILE = "\x1b[2J\x07 **bold** <img src=x> \u202egnp.exe ]] ```"


def test_strange_text_is_shown_and_sent_safely(home: Path, project: Path) -> None:
    called(home, "add_task", title=HOSTILE, description=HOSTILE)
    with task_file.changing(project) as book:
        book.tasks()[0]["details"] = "half a character: \ud800"
    for name in ("next_task", "list_tasks", "monitor_task"):
        arguments = {"id": "1"} if name == "monitor_task" else {}
        found, text = called(home, name, **arguments)
        for shown_text in (text, json.dumps(found, ensure_ascii=False)):
            assert not set("\x1b\x07\u202e\ud800") & set(shown_text), name
            assert "**bold**" in shown_text
    assert "half a character: \\ud800" in called(home, "next_task")[0]["task"]["details"]
    assert called(home, HOSTILE)[0]["code"] == "tool_unknown"
    assert called(home, "chain_status", run=HOSTILE)[0]["code"] == "no_runs"
    assert called(home, "add_task", **{HOSTILE: 1})[0]["code"] == "arguments_invalid"


def test_a_crash_tells_the_client_nothing_of_what_it_was_about(
    home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_: Path) -> None:
        raise ValueError(SECRET)

    monkeypatch.setattr(task_file, "load", crash)
    error, _ = called(home, "list_tasks")
    assert error["code"] == "internal" and SECRET not in str(error)
    printed = capfd.readouterr().err
    assert "crash" in printed and "ValueError" in printed and SECRET not in printed


def test_calls_at_once_do_not_disturb_one_another(home: Path) -> None:
    import asyncio

    async def scene(client: Client) -> Any:
        calls = [client.call_tool("add_task", {"title": f"task {n}"}) for n in range(20)]
        return [result_of(one)[0]["added"] for one in await asyncio.gather(*calls)]

    added = talk(server_of(home), scene)
    assert sorted(map(int, added)) == list(range(1, 21))


def test_a_server_starts_without_what_only_calls_need() -> None:
    heavy = "sqlalchemy sqlmodel yaml jsonschema web3 eth_account libp2p trio aiohttp litellm"
    code = (
        "import sys, ricochet_cli.mcp_server.starting, ricochet_cli.mcp_server.server\n"
        f"print([name for name in {heavy.split()!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_tools_are_described_in_the_docs() -> None:
    text = PATH.read_text("utf-8")
    assert text == with_table(text), "python tests/mcp_document.py writes the table"
