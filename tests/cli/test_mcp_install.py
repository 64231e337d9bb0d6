"""Editors' settings: one entry more and nothing else touched; and whether what they say works."""

import asyncio
import json
import shlex
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ricochet_cli.main import main
from ricochet_cli.mcp_server import installing
from ricochet_cli.mcp_server.checkup import examine
from ricochet_cli.mcp_server.editors import LAYOUTS, Editor, Scope, scopes, settings_file
from ricochet_cli.mcp_server.settings_text import NotJsonError, parse, with_member
from ricochet_protocol.errors import LocalFault, UsageError

# Settings as text.

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=8),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below, max_size=3)
    ),
    max_leaves=12,
)
NOTES = st.sampled_from(
    ["", " ", "\n", "  \n\t", '// note, with {a} "b"\n', "/* note\n over lines */", "// }\n  "]
)


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """The value as a person might have written it: notes anywhere, commas at the end."""

    def note() -> str:
        return draw(NOTES)

    def text(one: Any) -> str:
        if not isinstance(one, list | dict) or not one:
            return json.dumps(one, ensure_ascii=draw(st.booleans()))
        parts = (
            [f"{json.dumps(name)}{note()}:{note()}{text(each)}" for name, each in one.items()]
            if isinstance(one, dict)
            else [text(each) for each in one]
        )
        opening, closing = "{}" if isinstance(one, dict) else "[]"
        body = ",".join(f"{note()}{part}{note()}" for part in parts)
        comma = draw(st.sampled_from(["", ","]))
        return f"{opening}{body}{comma}{note()}{closing}"

    return f"{note()}{text(value)}{note()}"


@settings(max_examples=60)
@given(st.data())
def test_any_settings_are_read_and_get_one_member_more(data: st.DataObject) -> None:
    value = data.draw(st.dictionaries(st.text(max_size=4), VALUES, max_size=3))
    text = data.draw(written(value))
    assert parse(text).value == value
    servers = data.draw(
        st.sampled_from(["servers", *(k for k, v in value.items() if isinstance(v, dict))])
    )
    name = data.draw(st.sampled_from(["ricochet", *value.get(servers, {})]))
    entry = data.draw(VALUES)
    after = with_member(text, (servers, name), entry)
    assert parse(after).value == {**value, servers: {**value.get(servers, {}), name: entry}}
    if name not in value.get(servers, {}):
        rest = iter(after)
        assert all(character in rest for character in text), "all that was there is there, in order"


@given(st.text(alphabet='{}[]":,/*\\ \n\ta1-.eE\x00u\ud800', max_size=40))
def test_what_is_no_json_is_refused(text: str) -> None:
    try:
        value = parse(text).value
    except NotJsonError as error:
        assert str(error).startswith("line ")
        with pytest.raises(ValueError):
            json.loads(text)
    else:
        json.dumps(value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '{\n  "s": {\n    "r": 1\n  }\n}\n'),
        ("{}", '{\n  "s": {\n    "r": 1\n  }\n}'),
        ('{"a": 1}', '{"a": 1, "s": {\n    "r": 1\n  }}'),
        (
            '{\n    // mine\n    "a": 1 // one\n    // end\n}',
            '{\n    // mine\n    "a": 1, // one\n    "s": {\n        "r": 1\n    }\n    // end\n}',
        ),
        (
            '{\n\t"s": {\n\t\t"other": {}, // keep\n\t},\n}',
            '{\n\t"s": {\n\t\t"other": {}, // keep\n\t\t"r": 1,\n\t},\n}',
        ),
        ('{\n  "s": {\n    "r": 7 /* old */\n  }\n}', '{\n  "s": {\n    "r": 1 /* old */\n  }\n}'),
        ('{\n  "s": {} // none\n}', '{\n  "s": {\n    "r": 1\n  } // none\n}'),
    ],
)
def test_a_member_is_put_in_as_a_person_would(before: str, after: str) -> None:
    assert with_member(before, ("s", "r"), 1) == after


# Editors.


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("RICOCHET_HOME", raising=False)
    return folder


def install(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main(["mcp", "install", *arguments, "--json"]) == code
    captured = capsys.readouterr()
    return json.loads(captured.out if code == 0 else captured.err)


@pytest.mark.parametrize("editor", Editor)
def test_every_editor_is_told_for_a_project_and_for_a_person(
    editor: Editor, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for scope in scopes(editor):
        path = settings_file(editor, scope, project)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{\n  // mine\n  "theme": "dark"\n}\n')
        path.chmod(0o600)
        flags = ["--editor", editor.value, *(["--user"] if scope is Scope.USER else [])]
        done = install(capsys, *flags)
        assert (done["state"], done["written"], done["path"]) == ("added", True, str(path))
        text = path.read_text()
        assert "// mine" in text and stat.S_IMODE(path.stat().st_mode) == 0o600
        entry = parse(text).value[LAYOUTS[editor].key]["ricochet"]
        assert Path(entry["command"]).name == "ricochet-task" and Path(entry["command"]).exists()
        assert entry["args"][0] == "mcp" and "env" not in entry
        assert ("--project" in entry["args"]) == (scope is Scope.PROJECT)
        assert install(capsys, *flags)["state"] == "unchanged"
        assert path.read_text() == text
        assert {one.name for one in path.parent.iterdir()} == {path.name}


def test_windsurf_has_no_settings_of_a_project(project: Path) -> None:
    assert scopes(Editor.WINDSURF) == (Scope.USER,)
    with pytest.raises(UsageError) as caught:
        settings_file(Editor.WINDSURF, Scope.PROJECT, project)
    assert caught.value.code == "scope_unknown" and "--user" in caught.value.hint


def test_an_entry_of_another_is_not_replaced_unasked(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project / ".cursor" / "mcp.json"
    path.parent.mkdir()
    mine = '{"mcpServers": {"ricochet": {"command": "mine"}, "other": {"command": "theirs"}}}'
    path.write_text(mine)
    error = install(capsys, "--editor", "cursor", code=2)["error"]
    assert error["code"] == "entry_exists" and "--replace" in error["hint"]
    assert path.read_text() == mine
    assert install(capsys, "--editor", "cursor", "--name", "second")["state"] == "added"
    done = install(capsys, "--editor", "cursor", "--replace", "--tools", "core")
    assert done["state"] == "replaced"
    held = json.loads(path.read_text())["mcpServers"]
    assert held["other"] == {"command": "theirs"} and set(held) == {"ricochet", "other", "second"}
    assert held["ricochet"]["args"][-2:] == ["--tools", "core"]


def test_a_dry_run_shows_the_change_and_writes_nothing(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(tmp_path / "elsewhere")]
    assert main(["mcp", "install", "--editor", "vscode", "--dry-run", *home]) == 0
    shown = capsys.readouterr().out
    assert '+    "ricochet": {' in shown and "${workspaceFolder}" in shown
    assert '+        "RICOCHET_HOME": ' in shown and str(tmp_path / "elsewhere") in shown
    assert not (project / ".vscode").exists()
    assert install(capsys, "--editor", "vscode", "--dry-run")["written"] is False


@pytest.mark.parametrize(
    "content",
    [
        b'{"mcpServers": ',
        b'{"mcpServers": []}',
        b"[]",
        b'{"a": 1} {"b": 2}',
        b"{'a': 1}",
        b"\xff\xfe{\x00}\x00",
        b'{"a": ' * 100,
        b'{"a": 01}',
    ],
)
def test_settings_that_cannot_be_read_are_left_alone(
    project: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project / ".mcp.json"
    path.write_bytes(content)
    error = install(capsys, "--editor", "claude", code=2)["error"]
    assert error["code"] == "settings_unreadable" and str(path) in error["message"]
    assert path.read_bytes() == content
    assert main(["mcp", "doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["about"] == "claude (project)"


def test_ends_of_lines_and_marks_and_links_stay(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_bytes(b'\xef\xbb\xbf{\r\n  "mcpServers": {}\r\n}\r\n')
    (project / ".mcp.json").symlink_to(real)
    install(capsys, "--editor", "claude")
    data = real.read_bytes()
    assert (project / ".mcp.json").is_symlink() and data.startswith(b"\xef\xbb\xbf{\r\n")
    assert data.count(b"\r\n") == data.count(b"\n") > 5


def test_settings_that_change_meanwhile_are_not_written(project: Path) -> None:
    path = project / "mcp.json"
    path.write_text("{}")
    done = installing.change(installing.read(path), "servers", "ricochet", {}, replace=False)
    path.write_text('{"new": 1}')
    with pytest.raises(LocalFault) as caught:
        installing.apply(done)
    assert caught.value.code == "settings_changed" and path.read_text() == '{"new": 1}'


# Whether it works.

TALKER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                  "serverInfo": {"name": "x", "version": "1"}, "tools": []}
        answer = {"jsonrpc": "2.0", "id": message["id"]}
        known = message["method"] in ("initialize", "tools/list")
        answer |= {"result": result} if known else {"error": {"code": -32601, "message": "no"}}
        print(json.dumps(answer), flush=True)
"""


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"command": "no-such-program-here"}, "no such program"),
        (
            {"command": sys.executable, "args": ["-c", "import sys; sys.exit('I cannot')"]},
            "I cannot",
        ),
        ({"command": sys.executable, "args": ["-c", "import time; time.sleep(60)"]}, "in time"),
        ({"command": sys.executable, "args": ["-c", TALKER]}, "none of them Ricochet's"),
        ({"url": "http://127.0.0.1:1/mcp"}, "no command"),
        ({"command": "x", "args": "mcp"}, "`args`"),
        ({"command": "x", "env": {"A": 1}}, "`env`"),
        ([], "not an object"),
    ],
)
def test_what_does_not_work_is_told_with_what_mends_it(
    project: Path, entry: Any, words: str
) -> None:
    (project / ".mcp.json").write_text(json.dumps({"mcpServers": {"ricochet": entry}}))
    patience = 0.3 if words == "in time" else 30
    found = asyncio.run(examine((Editor.CLAUDE,), project, "ricochet", patience))
    assert [one.state for one in found] == ["fail"]
    assert words in found[0].message and "--replace" in found[0].mend


def test_an_editor_without_an_entry_is_told_how_to_get_one(project: Path) -> None:
    found = asyncio.run(examine((Editor.ZED,), project, "ricochet"))
    assert found[0].state == "fail" and "--editor zed" in found[0].mend
    found = asyncio.run(examine((Editor.WINDSURF,), project, "ricochet"))
    assert found[0].mend == "ricochet mcp install --editor windsurf"
    found = asyncio.run(examine((), project, "ricochet"))
    assert (found[0].about, found[0].state) == ("editors", "warn")


def test_what_mends_the_settings_of_all_projects_says_so(project: Path) -> None:
    path = settings_file(Editor.CURSOR, Scope.USER, project)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"mcpServers": {"ricochet": []}}))
    (found,) = asyncio.run(examine((), project, "ricochet"))
    assert found.about == "cursor (user)"
    assert found.mend == "ricochet mcp install --editor cursor --user --replace"


@pytest.mark.parametrize("editor", list(Editor))
@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("name", ["ricochet", "my own"])
def test_what_mends_does_mend(
    project: Path, editor: Editor, scope: Scope, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if scope not in scopes(editor):
        pytest.skip("it has no such settings")
    path = settings_file(editor, scope, project)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({LAYOUTS[editor].key: {name: []}}))
    (found,) = asyncio.run(examine((editor,), project, name))
    assert found.state == "fail"
    assert main(shlex.split(found.mend)[1:]) == 0, capsys.readouterr().err
    assert isinstance(json.loads(path.read_text())[LAYOUTS[editor].key][name], dict)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_is_installed_works(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(capsys, "--editor", "cursor", "--tools", "core")
    assert main(["mcp", "doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["about"] for one in found] == ["cursor (project)"]
    assert "9 tools in" in found[0]["message"]
