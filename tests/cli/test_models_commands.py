"""Models by role: who decides, what is kept, and the way to Task Master and back."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pexpect
import pytest

from live import environment
from ricochet_cli.main import main
from ricochet_orchestrator import model_choice, role_models, taskmaster_config
from ricochet_orchestrator.breaker import Breaker
from ricochet_orchestrator.chain_language import ROLES
from ricochet_orchestrator.chains import TEMPLATES, get
from ricochet_orchestrator.model_choice import ModelChoice, choices
from ricochet_orchestrator.opinion import Opinion
from ricochet_orchestrator.peer_reports import PeerRow
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import ModelId, PeerId
from ricochet_protocol.money import PricePerMillion
from terminal import SECONDS, ended

CONFIG = Path(__file__).parents[1] / "taskmaster" / "config.json"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RICOCHET_HOME", str(tmp_path / "home"))
    return tmp_path


def models(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main(["models", *arguments, "--json"]) == code
    captured = capsys.readouterr()
    return json.loads(captured.out if captured.out.strip() else captured.err)


def origins(found: Any) -> dict[str, tuple[str | None, str]]:
    return {one["role"]: (one["model"], one["origin"]) for one in found}


def test_flag_step_project_user_and_main_decide_in_this_order(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert origins(models(capsys, "list"))["main"] == (None, "default")
    models(capsys, "set", "main=user-main", "critic=user-critic", "analyzer=user-a", "--user")
    found = origins(models(capsys, "set", "analyzer=project-a", "scribe=s"))
    assert found["analyzer"] == ("project-a", "project") and found["scribe"] == ("s", "project")
    assert found["critic"] == ("user-critic", "user")
    assert found["integrator"] == ("user-main", "user (main)")
    chain = get("overview", (TEMPLATES,))
    first = msgspec.structs.replace(chain.steps[0], model=ModelId("step"))
    chain = msgspec.structs.replace(chain, steps=(first, *chain.steps[1:]))
    layers = role_models.layers(folder / "home", folder)
    said = [step.model for step in role_models.assigned(chain, None, layers).steps]
    assert said == ["step", "user-main", "user-main"]
    flagged = role_models.assigned(chain, ModelId("flag"), layers)
    assert {step.model for step in flagged.steps} == {"flag"}
    assert origins(models(capsys, "unset", "analyzer"))["analyzer"] == ("user-a", "user")
    assert models(capsys, "show", "critic")["origin"] == "user"


def test_a_role_that_no_chain_has_is_told_and_may_be_of_a_chain_of_ones_own(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert main(["models", "set", "main=m", "anlyzer=x"]) == 0
    told = capsys.readouterr().err
    assert "no chain here has the role anlyzer" in told and "analyzer" in told
    assert "role main" not in told
    chains = folder / ".ricochet" / "chains"
    chains.mkdir()
    step = {"name": "s", "role": "anlyzer", "mode": "map", "over": "segments", "max_tokens": 9}
    step["prompt"] = "{text}"
    (chains / "mine.json").write_text(json.dumps({"name": "mine", "steps": [step]}))
    (chains / "broken.json").write_text("{")
    assert main(["models", "set", "anlyzer=y"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("set", "main"), "models_bad"),
        (("set", "Main Role=x"), "models_bad"),
        (("set", "main=\x1b[1m"), "models_bad"),
        (("unset", "main"), "role_unset"),
        (("setup",), "no_terminal"),
        (("setup", "--no-input"), "no_terminal"),
        (("setup", "--file", "none.json"), "file_missing"),
        (("import",), "file_missing"),
    ],
)
def test_what_cannot_be_is_told(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: str, folder: Path
) -> None:
    assert models(capsys, *arguments, code=2)["error"]["code"] == code
    assert not (folder / ".ricochet" / "models.json").exists()


@pytest.mark.parametrize("content", ['{"roles": {"m', '{"rolls": {}}', '{"roles": {"main": "x"}}'])
def test_a_broken_file_is_refused_and_stays(
    capsys: pytest.CaptureFixture[str], folder: Path, content: str
) -> None:
    path = folder / ".ricochet" / "models.json"
    path.parent.mkdir()
    path.write_text(content)
    for arguments in (["list"], ["set", "main=x"], ["export"]):
        assert models(capsys, *arguments, code=2)["error"]["code"] == "models_invalid"
    assert path.read_text() == content


def test_a_run_names_the_models_of_its_roles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ricochet_orchestrator import app
    from ricochet_orchestrator.checkpoint import STORE_FILE
    from ricochet_orchestrator.document import document_from

    assert main(["models", "set", "summarizer=chosen"]) == 0
    monkeypatch.setattr(app, "_check_home", lambda home: None)
    (folder / "home").mkdir()
    record = app.enter_run(folder / "home", app.Task(document_from("d", "Text."), "overview"))
    from ricochet_orchestrator.store import Store

    store = Store(folder / "home" / STORE_FILE)
    request = store.request(record.id)
    store.close()
    assert request is not None
    assert [step.model for step in request.chain.steps] == [None, "chosen", None]


def test_a_run_has_the_role_fallback_unless_a_flag_names_its_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ricochet_orchestrator import app
    from ricochet_orchestrator.checkpoint import STORE_FILE
    from ricochet_orchestrator.document import document_from
    from ricochet_orchestrator.store import Store

    monkeypatch.setattr(app, "_check_home", lambda home: None)
    (folder / "home").mkdir()

    def fallback(text: str, model: ModelId | None = None) -> ModelId | None:
        task = app.Task(document_from("d", text), "overview", app.Options(model=model))
        record = app.enter_run(folder / "home", task)
        store = Store(folder / "home" / STORE_FILE)
        request = store.request(record.id)
        store.close()
        assert request is not None
        return request.options.fallback

    assert main(["models", "set", "main=chosen"]) == 0
    assert fallback("One.") is None, "main stands in for other roles, not for this one"
    assert main(["models", "set", "fallback=spare"]) == 0
    assert fallback("Two.") == "spare"
    assert fallback("Three.", ModelId("flag")) is None


def test_setup_from_options_and_a_file(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "m.json").write_text('{"roles": {"main": {"model": "a"}, "critic": {"model": "b"}}}')
    found = origins(models(capsys, "setup", "--file", "m.json", "--set", "critic=c", "--no-input"))
    assert found["main"] == ("a", "project") and found["critic"] == ("c", "project")


def test_setup_asks_for_each_role(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = tuple(
        ModelChoice(ModelId(name), 2, PricePerMillion(400_000), PricePerMillion(1), 4096, 0.5)
        for name in ("one", "two")
    )

    async def on_network(home: Path) -> tuple[ModelChoice, ...]:
        return offered

    answers = iter(["2", "", "seven", "one", "", "", "", ""])
    monkeypatch.setattr(model_choice, "on_network", on_network)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
    assert main(["models", "setup"]) == 0
    captured = capsys.readouterr()
    assert "two  " in captured.out and "$/M in" in captured.err and "from 1 to 2" in captured.err
    found = origins(models(capsys, "list"))
    assert found["main"] == ("two", "project") and found["fallback"] == ("one", "project")
    assert found["research"] == ("two", "project (main)")


MENUS = """
import sys
from ricochet_cli.main import main
from ricochet_orchestrator import model_choice
from ricochet_orchestrator.model_choice import ModelChoice

NAMES = ("one", "ba\\x1b[2Jd", "two")

async def on_network(home):
    return tuple(ModelChoice(name, 2, 400_000, 1, 4096, 0.5) for name in NAMES)

model_choice.on_network = on_network
sys.exit(main(["models", "setup"]))
"""


@contextmanager
def menus(folder: Path) -> "Iterator[pexpect.spawn[str]]":
    extra = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    child: pexpect.spawn[str] = pexpect.spawn(
        sys.executable,
        ["-c", MENUS],
        env=environment(folder / "home", **extra),  # type: ignore[arg-type]
        cwd=str(folder),
        encoding="utf-8",
        timeout=SECONDS,
        dimensions=(40, 120),
    )
    try:
        yield child
    finally:
        child.close(force=True)


DOWN = "\x1b[B"


def test_on_a_terminal_setup_is_a_menu_for_each_role(folder: Path) -> None:
    with menus(folder) as child:
        for role in ROLES:
            child.expect_exact(f"Model for {role}")
            child.expect_exact("none of its own")
            child.expect_exact("4096")
            child.send({"main": DOWN, "critic": 3 * DOWN}.get(role, "") + "\r")
        code, _ = ended(child)
    assert code == 0
    kept = json.loads((folder / ".ricochet" / "models.json").read_text())["roles"]
    assert kept == {"main": {"model": "one"}, "critic": {"model": "two"}}


def test_a_menu_that_is_left_writes_nothing(folder: Path) -> None:
    with menus(folder) as child:
        child.expect_exact("Model for main")
        child.expect_exact("none of its own")
        child.send(DOWN + "\r")
        child.expect_exact("Model for research")
        child.expect_exact("none of its own")
        child.send("\x03")
        code, shown = ended(child)
    assert code == 130 and "ba\x1b" not in shown
    assert not (folder / ".ricochet" / "models.json").exists()


def test_choices_sum_up_what_registered_peers_offer() -> None:
    def row(name: str, price: int, registered: bool = True) -> PeerRow:
        offer = ModelOffer(ModelId("m"), 1000, PricePerMillion(price), PricePerMillion(2), 1)
        opinion = Opinion().served(0.25, 1.0, 10)
        return PeerRow(
            PeerId(name), None, "", registered, (offer,), {ModelId("m"): opinion}, Breaker()
        )

    (one,) = choices([row("a", 5), row("b", 3), row("c", 1, registered=False)])
    assert (one.peers, one.price_in, one.context) == (2, 3, 1000)
    assert one.first_token == pytest.approx(0.25)


def test_task_masters_settings_come_back_as_they_were(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    found = origins(models(capsys, "import", str(CONFIG)))
    assert found["main"][0] == "claude-sonnet-4" and found["fallback"][0] == "smollm2"
    models(capsys, "export", "new.json")
    assert json.loads((folder / "new.json").read_text()) == json.loads(CONFIG.read_text())


def test_our_roles_go_out_merged_and_come_back(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    target = folder / "config.json"
    target.write_bytes(CONFIG.read_bytes())
    models(capsys, "set", "main=ours", "critic=c")
    models(capsys, "export", "config.json")
    there, before = json.loads(target.read_text()), json.loads(CONFIG.read_text())
    assert there["models"]["main"] == {
        **before["models"]["main"],
        "provider": "openai-compatible",
        "modelId": "ours",
        "baseURL": taskmaster_config.BASE_URL,
    }
    assert there["models"]["research"] == before["models"]["research"]
    assert there["global"] == {
        **before["global"],
        "ricochet": {"roles": {"critic": {"model": "c"}}},
    }
    found = origins(models(capsys, "import", "config.json", "--user"))
    assert found["critic"] == ("c", "project") and found["research"] == ("sonar-pro", "user")


@pytest.mark.parametrize(
    "content",
    [
        "[",
        "[]",
        '{"models": []}',
        '{"global": 1}',
        '{"global": {"ricochet": 1}}',
        '{"global": {"ricochet": {"roles": {"x": 1}}}}',
    ],
)
def test_a_configuration_that_is_none_is_refused(folder: Path, content: str) -> None:
    file = folder / "config.json"
    file.write_text(content)
    with pytest.raises(UsageError) as caught:
        taskmaster_config.import_config(folder / "models.json", file)
    assert caught.value.code == "config_invalid" and file.read_text() == content
