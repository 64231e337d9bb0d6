"""What `ricochet chain run` says of its input before anything is connected."""

import io
import json
import sys
from pathlib import Path

import pytest

from document_samples import PDF
from ricochet_cli.main import main
from ricochet_orchestrator.context import Context
from ricochet_orchestrator.extraction import process
from ricochet_protocol.errors import ExitCode


def attempt(capsys: pytest.CaptureFixture[str], home: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and error code; every file that can be read leads to the missing network."""
    code = main(["chain", "run", *arguments, "--home", str(home), "--json"])
    printed = capsys.readouterr()
    assert printed.out == ""
    error = json.loads(printed.err.strip().splitlines()[-1])["error"]
    assert error["message"] and error["hint"]
    return code, error["code"]


def test_each_bad_input_has_its_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "empty.txt": (b"", "document_empty"),
        "binary.txt": (b"\x00\x01", "document_binary"),
        "latin.txt": (b"caf\xe9", "document_encoding"),
        "half.pdf": (PDF[:150], "document_damaged"),
    }
    for name, (data, code) in files.items():
        (tmp_path / name).write_bytes(data)
        assert attempt(capsys, tmp_path, str(tmp_path / name)) == (ExitCode.USAGE, code)
    large = tmp_path / "large.txt"
    with large.open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    assert attempt(capsys, tmp_path, str(large)) == (ExitCode.USAGE, "document_too_large")
    assert attempt(capsys, tmp_path, "none.txt") == (ExitCode.USAGE, "document_missing")
    latin = str(tmp_path / "latin.txt")
    assert attempt(capsys, tmp_path, latin, "--encoding", "latin-1")[1] == "no_network"
    assert attempt(capsys, tmp_path, latin, "--encoding", "x")[1] == "encoding_unknown"


@pytest.mark.parametrize("arguments", [[], ["a", "--type", "doc"], ["a", "--overlap", "-1"]])
def test_wrong_arguments_are_refused(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attempt(capsys, tmp_path, *arguments) == (ExitCode.USAGE, "usage")


def test_a_missing_library_is_a_matter_of_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "find_spec", lambda _: None)
    (tmp_path / "a.pdf").write_bytes(PDF)
    expected = (ExitCode.CONFIGURATION, "document_library_missing")
    assert attempt(capsys, tmp_path, str(tmp_path / "a.pdf")) == expected


def test_what_is_skipped_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("text")
    (folder / ".env").write_text("hidden")
    (folder / "b.bin").write_bytes(b"\0")
    assert main(["chain", "run", str(folder), "--home", str(tmp_path)]) == ExitCode.CONFIGURATION
    printed = capsys.readouterr().err.splitlines()
    assert printed[:2] == ["skipped .env: hidden", "skipped b.bin: b.bin is not text."]


def test_standard_input_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"# piped")))
    arguments = ("-", "--type", "markdown", "--overlap", "20", "--headings")
    assert attempt(capsys, tmp_path, *arguments) == (ExitCode.CONFIGURATION, "no_network")


def test_context_can_be_given_again_as_arguments() -> None:
    assert Context(20, headings=True).words() == ("--overlap", "20", "--headings")
    assert Context().words() == ()
