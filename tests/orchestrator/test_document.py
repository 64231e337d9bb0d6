import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_orchestrator import reading, source_files
from ricochet_orchestrator.document import default_document
from ricochet_orchestrator.media import Form, Media
from ricochet_orchestrator.reading import Inputs, Loaded, load, part_from_bytes
from ricochet_orchestrator.source_files import read_whole
from ricochet_protocol.errors import ExitCode, UsageError


def refusal(*paths: Path, **said: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load(Inputs(paths, **said))
    assert caught.value.hint
    assert caught.value.exit_code is ExitCode.USAGE
    return caught.value


def text_of(path: Path, **said: Any) -> str:
    return load(Inputs((path,), **said)).document.text


def written(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"text of {name}\n")


def names(loaded: Loaded) -> list[str]:
    return [part.name for part in loaded.document.parts]


def skipped(loaded: Loaded) -> dict[str, str]:
    return {one.name: one.reason for one in loaded.skipped}


def test_the_built_in_chapter() -> None:
    document = default_document()
    assert document.name == "python-compound-statements"
    assert "statement" in document.text and len(document.text) > 30_000
    assert default_document() == document


def test_text_is_kept_exactly(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("Größe\r\n\tzwei  \n".encode())
    document = load(Inputs((path,))).document
    assert document.text == "Größe\r\n\tzwei  \n"
    assert document.name == "a.txt"


def test_equal_text_has_the_equal_digest_with_and_without_a_mark() -> None:
    plain, marked = part_from_bytes("a", b"text"), part_from_bytes("b", b"\xef\xbb\xbftext")
    assert marked.text == "text"
    assert plain.sha256 == marked.sha256
    assert plain.sha256 != part_from_bytes("a", b"text.").sha256


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_tells_the_encoding(encoding: str) -> None:
    assert part_from_bytes("a", "naïve ✓".encode(encoding)).text == "naïve ✓"


def test_other_encodings_have_to_be_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("naïve café".encode("cp1252"))
    error = refusal(path)
    assert error.code == "document_encoding" and "--encoding" in error.hint
    assert "byte 2" in error.message
    assert text_of(path, encoding="cp1252") == "naïve café"
    assert refusal(path, encoding="utf-8").code == "document_encoding"
    assert refusal(path, encoding="latin-99").code == "encoding_unknown"
    assert refusal(path, encoding="zlib").code == "encoding_unknown"
    path.write_bytes("Привет".encode("utf-16-be"))
    assert text_of(path, encoding="utf-16-be") == "Привет"


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"# piped text")))
    document = load(Inputs((Path("-"),), media=Media.MARKDOWN)).document
    assert (document.text, document.name) == ("# piped text", "standard input")
    assert document.parts[0].form is Form.MARKDOWN


def test_standard_input_is_read_once() -> None:
    assert refusal(Path("-"), Path("-")).code == "usage"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.txt").code == "document_missing"


def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    assert refusal(tmp_path / "a" / "b").code == "document_unreadable"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "document_empty"),
        (b" \r\n\t\n", "document_empty"),
        (b"\xef\xbb\xbf", "document_empty"),
        (b"text\0text", "document_binary"),
        (b"\x89PNG\r\n\x1a\n", "document_binary"),
        (b"\xff\xfe\x00", "document_encoding"),
        ("text\0".encode("utf-16"), "document_binary"),
    ],
)
def test_what_is_not_text_is_refused(tmp_path: Path, data: bytes, code: str) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    assert refusal(path).code == code


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    assert refusal(path).code == "document_too_large"


def test_an_endless_stream_is_read_to_the_limit_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_files, "MAX_FILE", 1_000)
    assert refusal(Path("/dev/zero")).code == "document_too_large"


def test_too_much_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_TEXT", 30)
    written(tmp_path, "a.txt", "b.txt", "c.txt")
    assert refusal(tmp_path).code == "document_too_large"
    assert text_of(tmp_path / "a.txt")


class Growing(io.FileIO):
    """A file to which somebody writes while it is read."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size)
        with Path(str(self.name)).open("ab") as other:
            other.write(b"more")
        return data


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("line\n")
    with Growing(path) as file, pytest.raises(UsageError) as caught:
        read_whole(file, "log.txt")  # type: ignore[arg-type]  # all that it needs of a file
    assert caught.value.code == "document_changed" and caught.value.hint


def test_several_files_are_parts_of_one_document(tmp_path: Path) -> None:
    written(tmp_path, "b.md", "a.py")
    loaded = load(Inputs((tmp_path / "b.md", tmp_path / "a.py")))
    assert names(loaded) == ["b.md", "a.py"]
    assert loaded.document.name == "b.md and 1 more"
    assert loaded.document.text == "text of b.md\ntext of a.py\n"
    assert [part.form for part in loaded.document.parts] == [Form.MARKDOWN, Form.CODE]


def test_a_folder_is_walked_in_order_and_what_is_skipped_is_listed(tmp_path: Path) -> None:
    written(tmp_path, "z.txt", "a/two.txt", "a/one.md", ".hidden/x.txt", ".env")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    (tmp_path / "c.txt").write_text("")
    (tmp_path / "d").symlink_to(tmp_path / "a")
    os.mkfifo(tmp_path / "pipe")
    loaded = load(Inputs((tmp_path,)))
    assert names(loaded) == ["a/one.md", "a/two.txt", "z.txt"]
    assert skipped(loaded) == {
        ".env": "hidden",
        ".hidden/": "hidden",
        "b.png": "b.png is not text.",
        "c.txt": "c.txt has no text.",
        "d": "a link",
        "pipe": "not a regular file",
    }
    assert load(Inputs((tmp_path,))) == loaded


def test_gitignore_is_honoured_in_folders_below_and_above(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    written(tmp_path, "src/a.txt", "src/b.log", "src/keep.log", "src/out/x.txt", "src/in/c.tmp")
    (tmp_path / ".gitignore").write_text("*.log\n/src/out/\n")
    (tmp_path / "src" / ".gitignore").write_text("!keep.log\n")
    (tmp_path / "src" / "in" / ".gitignore").write_text("*.tmp\n")
    loaded = load(Inputs((tmp_path / "src",)))
    assert names(loaded) == ["a.txt", "keep.log"]
    left_out = {name for name, reason in skipped(loaded).items() if ".gitignore" in reason}
    assert left_out == {"b.log", "out/", "in/c.tmp"}


def test_a_folder_without_text_is_refused_and_says_why(tmp_path: Path) -> None:
    assert refusal(tmp_path).code == "folder_empty"
    (tmp_path / "a.bin").write_bytes(b"\0")
    error = refusal(tmp_path)
    assert error.code == "folder_empty" and "a.bin" in error.message


def test_a_folder_with_too_many_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_files, "MAX_FILES", 2)
    written(tmp_path, "a", "b", "c")
    assert refusal(tmp_path).code == "folder_too_large"


def test_inputs_can_be_given_again_as_arguments() -> None:
    inputs = Inputs((Path("a b.txt"), Path("-")), Media.TEXT, "cp1251")
    assert inputs.words() == ("a b.txt", "-", "--type", "text", "--encoding", "cp1251")


@given(st.binary(max_size=200))
def test_any_bytes_are_text_or_a_refusal(data: bytes) -> None:
    try:
        part = part_from_bytes("x", data, Media.TEXT)
    except UsageError as error:
        assert error.hint
    else:
        if not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
            assert part.text.encode() == data.removeprefix(b"\xef\xbb\xbf")
