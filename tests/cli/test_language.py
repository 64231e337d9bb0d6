"""Which language a command speaks, and what it translates on the way to a person."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_reference import commands
from ricochet_cli import language
from ricochet_cli.console import print_error, say, table
from ricochet_cli.language import choose, t, told
from ricochet_cli.main import main


@pytest.fixture
def russian(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RICOCHET_LANG", "ru")
    choose({"RICOCHET_LANG": "ru"})
    yield
    choose({})


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, "en"),
        ({"LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LANG": "ru"}, "ru"),
        ({"LC_MESSAGES": "C", "LANG": "ru_RU.UTF-8"}, "en"),
        ({"LC_ALL": "", "LC_MESSAGES": "", "LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LC_ALL": "ru_RU.UTF-8", "LC_MESSAGES": "en_GB.UTF-8"}, "ru"),
        ({"RICOCHET_LANG": "en", "LC_ALL": "ru_RU.UTF-8"}, "en"),
        ({"RICOCHET_LANG": "russian", "LANG": "ru_RU.UTF-8"}, "en"),
        ({"RICOCHET_LANG": "../ru"}, "en"),
    ],
)
def test_the_first_variable_that_is_set_decides(environment: dict[str, str], wanted: str) -> None:
    assert language.language(environment) == wanted


@pytest.mark.parametrize("asked", ["de_DE.UTF-8", "C", "RU", "/etc"])
def test_without_a_catalogue_it_is_english(asked: str) -> None:
    choose({"RICOCHET_LANG": asked})
    assert t("error:") == "error:"
    assert told("no keys yet") == "no keys yet"


def test_help_is_translated_down_to_typers_own_words(
    russian: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "add", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Использование: ricochet keys add")
    assert "Зашифровать ключ провайдера вашей парольной фразой." in shown
    assert "[обязательно]" in shown
    assert "[переменная: RICOCHET_HOME]" in shown
    assert "Показать эту справку и выйти." in shown
    assert main(["--help"]) == 0
    assert "Владельцу ключей:\n  keys " in capsys.readouterr().out


def test_the_help_of_every_command_is_russian_and_fits_a_terminal(russian: None) -> None:
    for name, command in commands():
        shown = command.get_help(command.context_class(command, info_name=name, terminal_width=78))
        assert shown.startswith(f"Использование: {name}")
        for line in shown.splitlines():
            assert len(line) <= 80 or "ricochet " in line, line


def test_a_mistyped_command_is_guessed_in_russian(
    russian: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chian", "list"]) == 2
    assert "Нет команды 'chian'. Может быть, 'chain'?" in capsys.readouterr().err


def test_an_error_is_translated_for_people_and_never_for_programs(
    russian: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "add", "skynet"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("ошибка: провайдера 'skynet' нет; есть openai, ")
    assert "\nподсказка: " in said
    assert main(["keys", "add", "skynet", "--json"]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == "unknown_provider"
    assert error["message"].startswith("there is no provider 'skynet'; there are openai, ")


def test_an_error_that_quotes_another_is_translated_with_it(
    russian: None, capsys: pytest.CaptureFixture[str]
) -> None:
    print_error("bad_address", "--to: not an account address: 0y", "", as_json=False)
    assert capsys.readouterr().err == "ошибка: --to: это не адрес счёта: 0y\n"


def test_of_templates_that_fit_the_one_that_accounts_for_most_is_meant(
    russian: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks.json").write_text('{"master":', "utf-8")
    assert main(["tasks", "import", "tasks.json"]) == 2
    assert capsys.readouterr().err.startswith("ошибка: tasks.json: не целый JSON: Expecting value")


def test_a_page_and_a_list_of_tasks_have_russian_labels(
    russian: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tasks", "add", "First", "--description", "About it"]) == 0
    assert main(["tasks", "add", "Second", "--needs", "1"]) == 0
    capsys.readouterr()
    assert main(["tasks", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == [
        *("id", "статус", "важность", "подзадачи", "ждёт", "название")
    ]
    assert main(["tasks", "show", "2"]) == 0
    assert "\n  зависит от  1\n  ждёт        1" in capsys.readouterr().out
    assert main(["tasks", "show", "1"]) == 0
    assert "\n\nописание:\nAbout it" in capsys.readouterr().out


def test_what_no_message_fits_is_shown_as_it_is(
    russian: None, capsys: pytest.CaptureFixture[str]
) -> None:
    say("{0} {name} %s: a peer's own words {")
    assert capsys.readouterr().err == "{0} {name} %s: a peer's own words {\n"


def test_headers_of_tables_are_translated_and_columns_fit(russian: None) -> None:
    assert table(("name", "key"), [("alice", "7")]).splitlines() == [
        "имя    ключ",
        "─────  ────",
        "alice     7",
    ]


@given(text=st.text(max_size=300), hole=st.sampled_from(["{0}", "{name}", "{", "}", "{{}}"]))
def test_hostile_text_neither_breaks_nor_is_read_as_a_template(text: str, hole: str) -> None:
    choose({"RICOCHET_LANG": "ru"})
    try:
        name = f"{text}{hole}"
        assert repr(name) in told(f"there is no provider {name!r}; there are none")
        told(name)
    finally:
        choose({})


def test_built_in_chains_say_in_russian_what_they_do_and_need(
    russian: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["chain", "list", "--home", str(tmp_path)]) == 0
    assert "Перевод всего документа, сегмент за сегментом" in capsys.readouterr().out
    (tmp_path / "a.txt").write_text("Text.")
    run = ["chain", "run", str(tmp_path / "a.txt"), "--chain", "translate", "--dry-run"]
    assert main([*run, "--home", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert "нужен параметр 'language': Язык, на который переводить" in shown


def test_what_is_wrong_with_a_chain_is_told_in_russian(
    russian: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fields = {"role": "r", "mode": "map", "prompt": "{text}", "max_tokens": 10}
    steps = [{"name": "a", "over": "b", **fields}, {"name": "b", "over": "a", **fields}]
    ring, word = tmp_path / "ring.json", tmp_path / "word.json"
    ring.write_text(json.dumps({"name": "ring", "steps": steps}))
    word.write_text(json.dumps({"name": "word", "steps": [{**steps[0], "mode": "mpa"}]}))
    assert main(["chain", "validate", str(ring), str(word), "--home", str(tmp_path)]) == 2
    shown = capsys.readouterr().out
    assert "поле `steps`: a, b ждут друг друга по кругу" in shown
    assert "'mpa' не подходит, возможны each, map, reduce, refine" in shown
