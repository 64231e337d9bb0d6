import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_orchestrator.document import from_bytes, load
from ricochet_protocol.errors import ExitCode, UsageError


def refusal(path: Path) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load(path)
    assert caught.value.hint
    assert caught.value.exit_code is ExitCode.USAGE
    return caught.value


def test_without_a_path_the_built_in_chapter_is_read() -> None:
    document = load(None)
    assert document.name == "python-compound-statements"
    assert "statement" in document.text and len(document.text) > 30_000
    assert load(None) == document


def test_text_is_kept_exactly(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("Größe\r\n\tzwei  \n".encode())
    assert load(path).text == "Größe\r\n\tzwei  \n"
    assert load(path).name == "a.txt"


def test_equal_text_has_the_equal_digest_with_and_without_a_mark() -> None:
    plain, marked = from_bytes("a", b"text"), from_bytes("b", b"\xef\xbb\xbftext")
    assert marked.text == "text"
    assert plain.sha256 == marked.sha256
    assert plain.sha256 != from_bytes("a", b"text.").sha256


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"piped text")))
    assert load(Path("-")).text == "piped text"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.txt").code == "document_missing"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).code == "document_folder"


def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    assert refusal(tmp_path / "a" / "b").code == "document_unreadable"


def test_a_path_with_nul_is_refused() -> None:
    assert refusal(Path("a\0b")).code == "document_unreadable"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "document_empty"),
        (b" \r\n\t\n", "document_empty"),
        (b"\xef\xbb\xbf", "document_empty"),
        (b"text\0text", "document_binary"),
        (b"caf\xe9", "document_binary"),
        (b"\x89PNG\r\n\x1a\n", "document_binary"),
        ("text".encode("utf-16"), "document_encoding"),
    ],
)
def test_what_is_not_text_is_refused(tmp_path: Path, data: bytes, code: str) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    assert refusal(path).code == code


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_a_refusal(data: bytes) -> None:
    try:
        document = from_bytes("x", data)
    except UsageError as error:
        assert error.hint
    else:
        assert document.text.encode() == data.removeprefix(b"\xef\xbb\xbf")
