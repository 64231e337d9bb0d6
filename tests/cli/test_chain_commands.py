"""Making, changing, moving and deleting chains by command."""

import json
from pathlib import Path
from typing import Any

import pytest

from ricochet_cli.main import main
from ricochet_orchestrator.chain_language import json_schema

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RICOCHET_HOME", str(tmp_path / "home"))
    for name in ("EDITOR", "VISUAL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def chain(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main(["chain", *arguments, "--json"]) == code
    captured = capsys.readouterr()
    text = captured.out if captured.out.strip() else captured.err
    return json.loads(text.strip())


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    return str(chain(capsys, *arguments, code=code)["error"]["code"])


def test_a_chain_is_made_from_a_template_with_models_by_role(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / ".ricochet").mkdir()
    settings = folder / ".ricochet" / "models.json"
    settings.write_text('{"roles": {"analyzer": {"model": "cheap"}, "main": {"model": "x"}}}')
    made = chain(capsys, "create", "--name", "mine", "--model", "integrator=big")
    assert made["models"] == {"analyzer": "cheap", "summarizer": None, "integrator": "big"}
    assert made["path"] == str(folder / ".ricochet" / "chains" / "mine.yaml")
    shown = chain(capsys, "show", "mine")
    template = chain(capsys, "show", "overview")
    assert shown["steps"][0] == {**template["steps"][0], "model": "cheap"}
    assert "mine" in [one["name"] for one in chain(capsys, "list")]


@pytest.mark.parametrize(
    ("content", "arguments", "code"),
    [
        ("{}", ("--name", "mine", "--model", "nobody=x"), "role_unknown"),
        ("{}", ("--name", "mine", "--model", "nothing"), "model_bad"),
        ("{}", ("--name", "../mine"), "chain_invalid"),
        ("{}", ("--name", "mine", "--from", "overveiw"), "chain_unknown"),
        ('{"rolls": {}}', ("--name", "mine"), "models_invalid"),
        ("[", ("--name", "mine"), "models_invalid"),
    ],
)
def test_what_cannot_be_made_is_told(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    content: str,
    arguments: tuple[str, ...],
    code: str,
) -> None:
    (folder / ".ricochet").mkdir()
    (folder / ".ricochet" / "models.json").write_text(content)
    assert refused(capsys, "create", *arguments) == code
    assert not (folder / ".ricochet" / "chains").exists()


def test_nothing_is_replaced_unless_forced(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    chain(capsys, "create", "--name", "mine")
    assert refused(capsys, "create", "--name", "mine") == "chain_exists"
    chain(capsys, "create", "--name", "mine", "--from", "questions", "--force")
    assert chain(capsys, "show", "mine")["steps"][0]["name"] == "evidence"
    out = str(folder / "mine.json")
    chain(capsys, "export", "mine", "--format", "json", "--out", out)
    assert refused(capsys, "export", "mine", "--out", out) == "file_exists"
    assert refused(capsys, "import", out) == "chain_exists"
    chain(capsys, "import", out, "--force")
    assert [one.name for one in (folder / ".ricochet" / "chains").iterdir()] == ["mine.json"]
    assert chain(capsys, "delete", "mine")["deleted"].endswith("mine.json")
    assert refused(capsys, "show", "mine") == "chain_unknown"


def test_a_field_is_set_checked_and_taken_away(capsys: pytest.CaptureFixture[str]) -> None:
    chain(capsys, "create", "--name", "mine")
    chain(capsys, "edit", "mine", "--set", "steps.analyzer.max_tokens=200", "--set", "description=")
    shown = chain(capsys, "show", "mine")
    assert shown["steps"][0]["max_tokens"] == 200 and "description" not in shown
    before = Path(".ricochet/chains/mine.yaml").read_bytes()
    for setting, code in (
        ("steps.analyzer.max_tokens=-1", "chain_invalid"),
        ("steps.analyzer.colour=red", "chain_invalid"),
        ("steps.nobody.max_tokens=1", "setting_bad"),
        ("steps.analyzer=1", "setting_bad"),
        ("name", "setting_bad"),
    ):
        assert refused(capsys, "edit", "mine", "--set", setting) == code
    assert Path(".ricochet/chains/mine.yaml").read_bytes() == before


def test_an_editor_changes_a_chain_and_cannot_break_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chain(capsys, "create", "--name", "mine")
    assert refused(capsys, "edit", "mine") == "no_editor"
    monkeypatch.setenv("EDITOR", "sed -i s/sentences/words/")
    chain(capsys, "edit", "mine")
    assert "two words" in chain(capsys, "show", "mine")["steps"][0]["prompt"]
    assert refused(capsys, "edit", "mine") == "chain_unchanged"
    monkeypatch.setenv("EDITOR", "sed -i s/steps:/stepz:/")
    assert refused(capsys, "edit", "mine") == "chain_invalid"
    assert "steps:" in Path(".ricochet/chains/mine.yaml").read_text()


def test_templates_are_nobodys_to_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "delete", "overview") == "chain_builtin"
    assert refused(capsys, "edit", "overview", "--set", "description=x") == "chain_builtin"


def test_files_are_validated_each(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "bad.yaml").write_text("name: bad\nsteps: []\n")
    good = str(ROOT / "orchestrator/ricochet_orchestrator/templates/overview.yaml")
    found = chain(capsys, "validate", good, "bad.yaml", "x.txt", code=2)
    assert [one["valid"] for one in found] == [True, False, False]
    assert "`steps`" in found[1]["problem"]
    assert chain(capsys, "validate", good)[0]["problem"] is None


def test_a_chain_is_validated_by_its_name_too(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    made = chain(capsys, "create", "--name", "mine")["path"]
    found = chain(capsys, "validate", "mine", "overview")
    assert [(one["name"], one["valid"]) for one in found] == [("mine", True), ("overview", True)]
    assert found[0]["file"] == made
    (unknown,) = chain(capsys, "validate", "mein", code=2)
    assert unknown["file"] == "mein" and "no chain" in unknown["problem"]
    assert main(["chain", "validate", "mine"]) == 0
    assert capsys.readouterr().out == f"{made}: the chain mine is valid\n"


def test_a_file_elsewhere_is_known_by_the_name_that_it_says(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    chain(capsys, "export", "questions", "--out", "Draft 2.yaml")
    (found,) = chain(capsys, "validate", "Draft 2.yaml")
    assert found["name"] == "questions"
    placed = folder / ".ricochet" / "chains" / "questions.yaml"
    assert chain(capsys, "import", "Draft 2.yaml") == {"name": "questions", "path": str(placed)}
    placed.rename(placed.with_stem("other"))
    (moved,) = chain(capsys, "validate", str(placed.with_stem("other")), code=2)
    assert "not the file's name" in moved["problem"]


def test_a_file_is_written_as_its_ending_says(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    chain(capsys, "export", "overview", "--out", "m.json")
    assert json.loads((folder / "m.json").read_text())["name"] == "overview"
    chain(capsys, "export", "overview", "--out", "m.yml")
    assert (folder / "m.yml").read_text().startswith("name: overview")
    chain(capsys, "export", "overview", "--out", "m.txt", "--format", "yaml")
    for arguments in (("n.json", "--format", "yaml"), ("n.txt",)):
        assert refused(capsys, "export", "overview", "--out", *arguments) == "format_bad"
        assert not (folder / arguments[0]).exists()


def test_a_circle_of_steps_is_refused_by_whatever_reads_it(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    fields = {"role": "r", "mode": "map", "prompt": "{text}", "max_tokens": 10}
    steps = [{"name": "a", "over": "b", **fields}, {"name": "b", "over": "a", **fields}]
    (folder / "ring.json").write_text(json.dumps({"name": "ring", "steps": steps}))
    (found,) = chain(capsys, "validate", "ring.json", code=2)
    assert "circle" in found["problem"]
    assert refused(capsys, "import", "ring.json") == "chain_invalid"
    home = folder / ".ricochet" / "chains"
    home.mkdir(parents=True)
    (folder / "ring.json").rename(home / "ring.json")
    (folder / "a.txt").write_text("Text.")
    assert refused(capsys, "run", "a.txt", "--chain", "ring") == "chain_invalid"
    assert refused(capsys, "run", "a.txt", "--chain", "rang") == "chain_unknown"


def test_an_exported_template_is_the_same_chain(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    for one in chain(capsys, "list"):
        before = chain(capsys, "show", one["name"])
        for form in ("yaml", "json"):
            out = folder / f"{one['name']}.{form}"
            chain(capsys, "export", one["name"], "--format", form, "--out", str(out))
            chain(capsys, "import", str(out), "--force")
            assert chain(capsys, "show", one["name"]) == before


def test_the_published_schema_is_made_from_the_classes_and_accepts_every_template(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from jsonschema import Draft202012Validator

    published = json.loads((ROOT / "docs" / "chain.schema.json").read_text("utf-8"))
    assert published == json_schema()
    validator = Draft202012Validator(published)
    for one in chain(capsys, "list"):
        assert not list(validator.iter_errors(chain(capsys, "show", one["name"])))
    assert list(validator.iter_errors({"name": "a", "steps": [], "colour": "red"}))


def test_the_reference_names_every_field() -> None:
    text = (ROOT / "docs" / "chains.md").read_text("utf-8")
    for table in json_schema()["$defs"].values():
        for field in table["properties"]:
            assert f"`{field}`" in text, field
