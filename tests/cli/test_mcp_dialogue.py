"""Resources, prompts, and the form in which a person chooses models."""

import json
from pathlib import Path
from typing import Any

import mcp.types as protocol
import pytest
from mcp import Client, MCPError
from mcp_stage import MODES, Mode, called, result_of, server_of, talk

from orchestrator.orchestrator_stage import Stage, numbered, play
from ricochet_orchestrator import model_choice
from ricochet_orchestrator.model_choice import ModelChoice
from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.ids import ModelId
from ricochet_protocol.money import PricePerMillion

ROOT = "ricochet://runs"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return tmp_path / "home"


def read(home: Path, uri: str, mode: Mode = "auto") -> Any:
    async def scene(client: Client) -> Any:
        return (await client.read_resource(uri)).contents[0]

    return talk(server_of(home), scene, mode)


@pytest.mark.parametrize("mode", MODES)
def test_runs_are_resources(home: Path, mode: Mode) -> None:
    assert read(home, ROOT, mode).text == "[]"
    home.mkdir()
    stage = Stage(home)
    stage.node(0, answer=lambda _: "What it says.\x1b[2J")
    done = play(stage, numbered(2))

    async def scene(client: Client) -> Any:
        templates = (await client.list_resource_templates()).resource_templates
        return (await client.list_resources()).resources, [one.uri_template for one in templates]

    listed, templates = talk(server_of(home), scene, mode)
    assert [str(one.uri) for one in listed] == [ROOT, f"{ROOT}/{done.run_id}/result"]
    assert listed[1].title == "short over numbered.txt: completed"
    assert json.loads(read(home, ROOT, mode).text)[0]["id"] == done.run_id
    assert json.loads(read(home, f"{ROOT}/{done.run_id}", mode).text)["done"] == 3
    result = read(home, f"{ROOT}/{done.run_id}/result", mode)
    assert (result.mime_type, "What it says." in result.text) == ("text/markdown", True)
    stored = json.loads(read(home, f"{ROOT}/{done.run_id}/checkpoints", mode).text)
    assert [one["segments"] for one in stored] == [[1], [2], [1, 2]] and "text" not in stored[0]
    step = stored[0]["step"][:12]
    assert read(home, f"{ROOT}/{done.run_id}/checkpoints/{step}", mode).text == "What it says.[2J"
    for uri in templates:
        assert read(home, uri.format(run=done.run_id, step=step), mode).text
    for uri in (
        *(f"{ROOT}/nope", f"{ROOT}/nope/result", f"{ROOT}/{done.run_id}/checkpoints/ff"),
        *(f"{ROOT}/{done.run_id}/other", f"{ROOT}/{done.run_id}/checkpoints/", f"{ROOT}s"),
        *("file:///etc/passwd", "ricochet://nodes", f"{ROOT}/../../etc", f"{ROOT}/%2e%2e/x"),
    ):
        with pytest.raises(MCPError) as caught:
            read(home, uri, mode)
        assert caught.value.error.code == protocol.INVALID_PARAMS


@pytest.mark.parametrize("mode", MODES)
def test_every_chain_is_a_prompt(home: Path, mode: Mode) -> None:
    called(home, "chain_create", name="mine", source="questions")
    (Path.cwd() / ".ricochet" / "chains" / "broken.yaml").write_text("name: other")

    async def scene(client: Client) -> Any:
        values = {"files": "report.txt", "question": "How much?\x07"}
        return (await client.list_prompts()).prompts, await client.get_prompt("mine", values)

    prompts, given = talk(server_of(home), scene, mode)
    assert {"overview", "questions", "mine"} <= {one.name for one in prompts}
    assert "broken" not in {one.name for one in prompts}
    mine = next(one for one in prompts if one.name == "mine")
    assert [(one.name, one.required) for one in mine.arguments] == [
        ("files", True),
        ("question", True),
    ]
    text = given.messages[0].content.text
    assert "'mine' over: report.txt" in text and "question: How much?\n" in text
    assert "monitor_chain" in text


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("nope", {"files": "a"}),
        ("questions", {"files": "a"}),
        ("overview", {"files": " "}),
        ("overview", {}),
        ("overview", {"files": "a", "colour": "red"}),
    ],
)
def test_a_prompt_that_cannot_be_is_refused(
    home: Path, name: str, arguments: dict[str, str]
) -> None:
    async def scene(client: Client) -> Any:
        return await client.get_prompt(name, arguments)

    with pytest.raises(MCPError) as caught:
        talk(server_of(home), scene)
    assert caught.value.error.code == protocol.INVALID_PARAMS


# Choosing models.


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What peers offer; more names may be put in."""
    names = ["big", "small"]

    async def on_network(_: Path) -> tuple[ModelChoice, ...]:
        price = PricePerMillion(400_000)
        return tuple(ModelChoice(ModelId(name), 2, price, price, 4096, None) for name in names)

    monkeypatch.setattr(model_choice, "on_network", on_network)
    return names


Asked = list[protocol.ElicitRequestFormParams]


def chose(
    home: Path, mode: Mode, action: str, content: dict[str, Any] | None = None, **arguments: Any
) -> tuple[Any, Asked]:
    asked: Asked = []

    async def answer(_: Any, params: Any) -> protocol.ElicitResult:
        asked.append(params)
        return protocol.ElicitResult(action=action, content=content)  # type: ignore[arg-type]  # by the test

    async def scene(client: Client) -> Any:
        return result_of(await client.call_tool("models_setup", arguments))[0]

    return talk(server_of(home), scene, mode, elicitation_callback=answer), asked


@pytest.mark.parametrize("mode", MODES)
def test_a_person_chooses_models_in_a_form(home: Path, mode: Mode, offers: list[str]) -> None:
    content = {"main": "big", "analyzer": "small"}
    found, asked = chose(home, mode, "accept", content)
    assert len(asked) == 1
    assert "big: $0.40 in, $0.40 out per million tokens, window 4,096, 2 peers" in asked[0].message
    fields = asked[0].requested_schema["properties"]
    assert fields["critic"]["enum"] == ["big", "small"] and "critic" not in asked[
        0
    ].requested_schema.get("required", [])
    roles = {one["role"]: one["model"] for one in found["roles"]}
    assert (roles["main"], roles["analyzer"], roles["critic"]) == ("big", "small", "big")
    same, _ = chose(home, mode, "accept", {})
    assert same == found, "what is left empty stays"


@pytest.mark.parametrize("mode", MODES)
def test_what_was_not_chosen_or_not_offered_changes_nothing(
    home: Path, mode: Mode, offers: list[str]
) -> None:
    for action in ("decline", "cancel"):
        error, _ = chose(home, mode, action)
        assert error["code"] == "not_chosen"
    error, _ = chose(home, mode, "accept", {"main": "gone"})
    assert error["code"] == "model_unknown" and "big, small" in error["hint"]
    error, asked = chose(home, mode, "accept", {"main": 7})
    assert error["code"] == "tool_failed" and len(asked) == 1
    assert not (Path.cwd() / ".ricochet" / "models.json").exists()
    _, asked = chose(home, mode, "accept", models={"main": "mine"})
    assert asked == []


@pytest.mark.parametrize("mode", MODES)
def test_a_client_that_cannot_ask_gets_the_choices(
    home: Path, mode: Mode, offers: list[str]
) -> None:
    async def scene(client: Client) -> Any:
        return result_of(await client.call_tool("models_setup", {}))[0]

    error = talk(server_of(home), scene, mode)
    assert error["code"] == "nobody_to_ask" and "big, small" in error["message"]


def test_without_offers_or_network_nothing_is_asked(
    home: Path, offers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    offers.clear()
    error, asked = chose(home, "auto", "accept")
    assert error["code"] == "no_offers" and asked == []

    async def fails(_: Path) -> None:
        raise ConfigurationError("no_network", "There is none.", "Join one.")

    monkeypatch.setattr(model_choice, "on_network", fails)
    error, asked = chose(home, "auto", "accept")
    assert error["code"] == "no_network" and asked == []
