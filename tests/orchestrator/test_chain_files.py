import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.chains import TEMPLATES, available, folders, get, parse
from ricochet_protocol.errors import UsageError


def step(**changes: Any) -> dict[str, Any]:
    return {
        "name": "a",
        "role": "analyzer",
        "mode": "map",
        "over": "segments",
        "prompt": "{text}\nExplain.",
        "max_tokens": 50,
    } | changes


def chain_file(*steps: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({"name": "mine", "steps": steps} | changes).encode()


def refused(data: bytes) -> str:
    with pytest.raises(UsageError) as caught:
        parse("mine.yaml", data)
    assert caught.value.code == "chain_invalid"
    assert "mine.yaml" in caught.value.message
    return caught.value.message


def test_the_overview_template_is_as_designed() -> None:
    chain = get("overview", (TEMPLATES,))
    assert [(s.name, s.mode, s.over, s.group, s.max_tokens) for s in chain.steps] == [
        ("analyzer", "map", "segments", None, 90),
        ("summarizer", "reduce", "analyzer", 3, 90),
        ("integrator", "reduce", "summarizer", None, 160),
    ]
    assert chain.steps[0].prompt.startswith("{text}\n")
    assert chain.last.name == "integrator"


def test_every_template_is_valid_and_described() -> None:
    for path in available((TEMPLATES,)).values():
        assert get(path.stem, (TEMPLATES,)).description


def test_steps_are_put_in_order_of_dependency() -> None:
    later = step(name="b", mode="reduce", over="a")
    assert [s.name for s in parse("mine.yaml", chain_file(later, step())).steps] == ["a", "b"]


def test_the_end_of_the_chain_is_last_whatever_the_order() -> None:
    data = chain_file(step(name="c", over="b"), step(name="b", over="a"), step())
    assert parse("mine.yaml", data).last.name == "c"


def test_yaml_and_json_mean_the_same() -> None:
    data = chain_file(step())
    assert parse("mine.json", data) == parse("mine.yaml", yaml.safe_dump(json.loads(data)).encode())


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("steps[0].mode", {"mode": "fold"}),
        ("colour", {"colour": "red"}),
        ("steps[0].name", {"name": "Not OK"}),
        ("steps[0].name", {"name": "segments"}),
        ("steps[0].role", {"role": ""}),
        ("steps[0].over", {"over": "nothing"}),
        ("steps[0].over", {"mode": "reduce"}),
        ("steps[0].prompt", {"prompt": "no place for the text"}),
        ("steps[0].prompt", {"prompt": "{text} and {text}"}),
        ("steps[0].prompt", {"prompt": 3}),
        ("steps[0].max_tokens", {"max_tokens": 0}),
        ("steps[0].max_tokens", {"max_tokens": 10**9}),
        ("steps[0].max_tokens", {"max_tokens": True}),
        ("steps[0].temperature", {"temperature": 2.5}),
        ("steps[0].model", {"model": ""}),
        ("steps[0].group", {"group": 3}),
        ("steps", {"over": "a"}),
    ],
)
def test_a_wrong_field_is_named(field: str, changes: dict[str, Any]) -> None:
    assert f"`{field}`" in refused(chain_file(step(**changes)))


@pytest.mark.parametrize("missing", ["name", "role", "mode", "over", "prompt", "max_tokens"])
def test_a_missing_field_is_named(missing: str) -> None:
    fields = step()
    del fields[missing]
    assert f"`{missing}`" in refused(chain_file(fields))


@pytest.mark.parametrize(
    ("field", "schema"),
    [
        ("schema.minimum", {"minimum": 2, "maximum": 1}),
        ("schema.minLength", {"minLength": 2, "maxLength": 1}),
        ("schema.properties.n.minItems", {"properties": {"n": {"minItems": 3, "maxItems": 2}}}),
        ("schema.items.minProperties", {"items": {"minProperties": 1, "maxProperties": 0}}),
        ("schema.anyOf[1].enum", {"anyOf": [{}, {"enum": ["a"], "type": "integer"}]}),
        ("schema.enum", {"enum": []}),
        ("schema.const", {"const": "long", "maxLength": 3}),
        ("schema.required", {"required": ["n"], "properties": {}, "additionalProperties": False}),
    ],
)
def test_a_schema_that_no_answer_can_meet_is_refused_before_it_costs(
    field: str, schema: dict[str, Any]
) -> None:
    said = refused(chain_file(step(schema=schema)))
    assert f"`steps[0].{field}`" in said and "no answer can meet it" in said


@pytest.mark.parametrize(
    "schema",
    [
        {"minimum": 1, "maximum": 1},
        {"enum": ["a", 1], "type": "integer"},
        {"const": None},
        {"required": ["n"], "additionalProperties": {"type": "integer"}},
    ],
)
def test_a_schema_that_some_answer_meets_is_a_schema(schema: dict[str, Any]) -> None:
    assert parse("mine.json", chain_file(step(schema=schema))).last.schema == schema


def test_a_group_of_one_is_refused() -> None:
    data = chain_file(step(), step(name="b", mode="reduce", over="a", group=1))
    assert "`steps[1].group`" in refused(data)


def test_graphs_that_are_no_chain_are_refused() -> None:
    circle = chain_file(step(name="a", over="b"), step(name="b", over="a"))
    assert "circle" in refused(circle)
    assert "one end" in refused(chain_file(step(), step(name="b")))
    assert "twice" in refused(chain_file(step(), step()))
    assert "`steps`" in refused(chain_file())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"- 1",
        b"name: [",
        b"\xff\xfe",
        b"a: &a [*a]",
        b"!!python/object/apply:os.system [ls]",
        b"when: 2024-13-45",
        b"{1: 2}",
        b"[" * 20_000,
        b"x" * 300_000,
        chain_file(step(), name="other"),
        chain_file(step(), name="../mine"),
        chain_file(step(), extra=1),
    ],
)
def test_what_is_not_a_chain_is_refused(data: bytes) -> None:
    refused(data)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_chain_or_a_refusal(data: bytes) -> None:
    try:
        parse("mine.yaml", data)
    except UsageError:
        return


values = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 500), st.floats(), st.text(max_size=9), st.just("a")
)


@given(st.dictionaries(st.sampled_from([*step(), "group", "temperature", "x"]), values))
def test_any_fields_are_a_chain_or_a_refusal(changes: dict[str, Any]) -> None:
    try:
        chain = parse(
            "mine.json", yaml.safe_dump({"name": "mine", "steps": [step(**changes)]}).encode()
        )
    except UsageError:
        return
    assert isinstance(chain, Chain)


def test_an_unknown_chain_names_the_others_and_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "home" / "chains").mkdir(parents=True)
    (tmp_path / "home" / "chains" / "mine.json").write_bytes(chain_file(step()))
    places = folders(tmp_path / "home", tmp_path)
    with pytest.raises(UsageError) as caught:
        get("overvew", places)
    assert "'overview'" in caught.value.hint
    assert "mine, overview" in caught.value.hint
    assert get("mine", places).name == "mine"


@pytest.mark.parametrize("name", ["", "../overview", "/etc/passwd", "a\0b", "OVERVIEW"])
def test_a_name_cannot_leave_the_folders(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        get(name, folders(tmp_path, tmp_path))
    assert caught.value.code == "chain_unknown"


def test_the_working_folder_wins_over_home_and_home_over_templates(tmp_path: Path) -> None:
    home, working, builtin = folders(tmp_path / "home", tmp_path)
    for folder, text in ((home, "working"), (working, "home")):
        folder.mkdir(parents=True)
        data = chain_file(step(), name="overview", description=text)
        (folder / "overview.yaml").write_bytes(data)
    assert get("overview", (home, working, builtin)).description == "working"
    assert get("overview", (working, builtin)).description == "home"


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").mkdir()
    with pytest.raises(UsageError) as caught:
        get("mine", (tmp_path,))
    assert caught.value.code == "chain_invalid"
