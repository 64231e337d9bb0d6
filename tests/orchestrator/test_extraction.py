import os
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter

from document_samples import (
    DOCX,
    DOCX_TEXT,
    EPUB,
    EPUB_TEXT,
    HTML,
    HTML_TEXT,
    PDF,
    PDF_TEXT,
    W,
    archive,
    docx,
    epub,
    page,
    paragraph,
    pdf,
)
from ricochet_orchestrator.document import Mark, Part
from ricochet_orchestrator.extraction import archive as archives
from ricochet_orchestrator.extraction import child, process
from ricochet_orchestrator.extraction.child import answer
from ricochet_orchestrator.extraction.refusal import Extracted, Refusal
from ricochet_orchestrator.media import Form, Media, media_of
from ricochet_orchestrator.reading import Inputs, load, part_from_bytes
from ricochet_protocol.errors import ConfigurationError, ExitCode, UsageError

KINDS = {
    Media.HTML: (HTML.encode(), HTML_TEXT, Form.MARKDOWN),
    Media.DOCX: (DOCX, DOCX_TEXT, Form.MARKDOWN),
    Media.EPUB: (EPUB, EPUB_TEXT, Form.MARKDOWN),
    Media.PDF: (PDF, PDF_TEXT, Form.TEXT),
}


def read(name: str, data: bytes, folder: Path, **said: object) -> Part:
    """A file's part, by way of the process that extracts it."""
    (folder / name).write_bytes(data)
    (part,) = load(Inputs((folder / name,), **said)).document.parts  # type: ignore[arg-type]  # passed on
    return part


def refused(media: Media, data: bytes) -> Refusal:
    """The refusal of the extractor itself, in this process."""
    found = answer(media, data)
    assert isinstance(found, Refusal) and found.hint
    return found


def text(media: Media, data: bytes) -> str:
    found = answer(media, data)
    assert isinstance(found, Extracted), found
    return found.text


@pytest.mark.parametrize("media", KINDS)
def test_each_kind_is_read_in_a_process_of_its_own(media: Media, tmp_path: Path) -> None:
    data, expected, form = KINDS[media]
    part = read(f"sample.{media}", data, tmp_path)
    assert part.text == expected
    assert (part.media, part.form) == (media, form)


def test_offsets_lead_back_to_pages_and_chapters() -> None:
    found = answer(Media.PDF, PDF)
    assert isinstance(found, Extracted)
    assert found.marks == (Mark(0, "page 1"), Mark(21, "page 2"))
    assert found.text[21:].startswith("Page two")
    book = answer(Media.EPUB, EPUB)
    assert isinstance(book, Extracted)
    at = book.text.index("# The End")
    assert book.marks == (Mark(0, "chapter 1: The Beginning"), Mark(at, "chapter 2: The End"))


@pytest.mark.parametrize(
    ("name", "data", "media"),
    [
        ("a", PDF, Media.PDF),
        ("notes.txt", PDF, Media.PDF),
        ("a", EPUB, Media.EPUB),
        ("a.docx", DOCX, Media.DOCX),
        ("A.HTML", b"text", Media.HTML),
        ("a", HTML.encode(), Media.HTML),
        ("a.md", b"%PDF- is how a PDF begins", Media.MARKDOWN),
        ("a.py", b"", Media.CODE),
        ("a.unknown", b"text", Media.TEXT),
    ],
)
def test_kinds_are_told_by_content_and_name(name: str, data: bytes, media: Media) -> None:
    assert media_of(name, data[:1024]) is media


def test_html_is_decoded_as_it_declares(tmp_path: Path) -> None:
    declared = '<html><meta charset="windows-1251"><p>Привет</p></html>'.encode("cp1251")
    assert read("a.html", declared, tmp_path).text == "Привет\n"
    plain = "<html><p>Привет</p></html>".encode("koi8-r")
    assert read("b.html", plain, tmp_path, encoding="koi8-r").text == "Привет\n"
    with pytest.raises(UsageError) as caught:
        read("c.html", plain, tmp_path)
    assert caught.value.code == "document_encoding"


def test_a_type_can_be_said(tmp_path: Path) -> None:
    assert read("a.html", b"<b>x</b>", tmp_path, media=Media.TEXT).text == "<b>x</b>"
    assert read("a.txt", b"<h1>x</h1>", tmp_path, media=Media.HTML).text == "# x\n"


@pytest.mark.parametrize("media", [Media.PDF, Media.DOCX, Media.EPUB])
def test_half_a_file_is_refused(media: Media) -> None:
    data = KINDS[media][0]
    assert refused(media, data[: len(data) // 2]).code == "document_damaged"
    assert refused(media, b"something else").code == "document_damaged"


def test_what_is_missing_inside_a_file_is_told() -> None:
    assert "word/document.xml" in refused(Media.DOCX, archive({"a": "b"})).message
    assert "container.xml" in refused(Media.EPUB, archive({"a": "b"})).message


def locked_pdf(password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(BytesIO(PDF)))
    writer.encrypt(password, owner_password="other", algorithm="AES-256")
    buffer = BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def test_encrypted_files_are_refused_unless_the_password_is_empty() -> None:
    assert refused(Media.PDF, locked_pdf("secret")).code == "document_encrypted"
    assert text(Media.PDF, locked_pdf("")) == PDF_TEXT
    drm = '<encryption><CipherReference URI="OPS/text/c%200.xhtml"/></encryption>'
    book = epub(page("A", "x"), **{"META-INF__encryption.xml": drm})
    assert refused(Media.EPUB, book).code == "document_encrypted"
    fonts = drm.replace("text/c%200.xhtml", "font.otf")
    assert "# A" in text(Media.EPUB, epub(page("A", "x"), **{"META-INF__encryption.xml": fonts}))
    member = bytearray(DOCX)
    for at in (member.rindex(b"word/document.xml") - 38, member.index(b"word/document.xml") - 24):
        member[at] |= 1
    assert refused(Media.DOCX, bytes(member)).code == "document_encrypted"


def test_a_pdf_without_text_says_why() -> None:
    found = refused(Media.PDF, pdf(""))
    assert found.code == "document_empty" and "ocr" in found.hint


@pytest.mark.parametrize("media", [Media.DOCX, Media.EPUB])
def test_an_archive_that_unpacks_without_end_is_refused(
    media: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_CONTENT", 100_000)
    bomb = " " * 10_000_000
    data = docx(bomb) if media is Media.DOCX else epub(bomb)
    assert len(data) < 50_000
    assert refused(media, data).code == "document_too_large"


def test_a_bomb_is_refused_by_the_process_within_its_limits(tmp_path: Path) -> None:
    squeezer = zlib.compressobj(1)
    stream = b"".join(squeezer.compress(b" " * 1_000_000) for _ in range(90)) + squeezer.flush()
    with pytest.raises(UsageError) as caught:
        read("bomb.pdf", pdf("x", stream=stream), tmp_path)
    assert caught.value.code == "document_too_large"
    assert caught.value.message.startswith("bomb.pdf ")


ENTITIES = (
    '<!DOCTYPE d [<!ENTITY a "{}"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY x SYSTEM "file://{}">]>'
)


def test_no_entity_is_expanded_or_loaded(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    entities = ENTITIES.format("lol" * 100, secret)
    body = (
        f'{entities}<w:document xmlns:w="{W}"><w:body>{paragraph("&x;&b;")}</w:body></w:document>'
    )
    data = archive({"word/document.xml": body})
    assert refused(Media.DOCX, data).code == "document_damaged"
    shown = text(Media.EPUB, epub(f"{entities}<html><body><p>x&x;&b;</p></body></html>"))
    assert "secret" not in shown and "lollol" not in shown
    shown = text(Media.HTML, f"{entities}<html><p>x&x;&b;</p></html>".encode())
    assert "secret" not in shown


def test_the_process_refuses_network_processes_and_writing(tmp_path: Path) -> None:
    attempts = (
        "socket.create_connection(('127.0.0.1', 9), 1)",
        "subprocess.run(['true'])",
        "os.system('true')",
        f"open({str(tmp_path / 'written')!r}, 'w')",
        f"os.open({str(tmp_path / 'written')!r}, os.O_CREAT | os.O_WRONLY)",
    )
    program = "import os, socket, subprocess, sys\n"
    program += "from ricochet_orchestrator.extraction.child import _limit, _refuse\n"
    program += "_limit(); sys.addaudithook(_refuse)\n"
    for attempt in attempts:
        program += f"try:\n    {attempt}\nexcept PermissionError:\n    print('refused')\n"
    program += "try:\n    bytes(4 * 1024 ** 3)\nexcept MemoryError:\n    print('refused')\n"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["refused"] * (len(attempts) + 1), done.stderr
    assert not (tmp_path / "written").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="limits are those of POSIX")
def test_a_reader_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "WALL_SECONDS", 0.001)
    with pytest.raises(UsageError) as caught:
        part_from_bytes("slow.pdf", PDF)
    assert caught.value.code == "document_too_costly"


def test_a_library_that_fails_in_a_way_of_its_own_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: BaseException) -> str:
        def extract(*_: object) -> Extracted:
            raise error

        monkeypatch.setattr(child, "_extract", extract)
        return refused(Media.PDF, PDF).code

    assert fail(RecursionError()) == "document_damaged"
    assert fail(MemoryError()) == "document_too_costly"


@pytest.mark.parametrize(
    ("name", "library"), [("a.pdf", "pypdf"), ("a.html", "lxml"), ("a.docx", "lxml")]
)
def test_a_missing_library_names_the_extra(
    name: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "find_spec", lambda wanted: None if wanted == library else wanted)
    with pytest.raises(ConfigurationError) as caught:
        part_from_bytes(name, b"<html>")
    assert caught.value.code == "document_library_missing"
    assert "ricochet-network[documents]" in caught.value.hint
    assert caught.value.exit_code is ExitCode.CONFIGURATION


def test_a_broken_file_in_a_folder_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(PDF[:200])
    (tmp_path / "b.txt").write_text("text")
    loaded = load(Inputs((tmp_path,)))
    assert [part.name for part in loaded.document.parts] == ["b.txt"]
    assert [one.name for one in loaded.skipped] == ["a.pdf"]
    assert "a.pdf cannot be read" in loaded.skipped[0].reason


def test_a_deep_page_is_read() -> None:
    deep = b"<html>" + b"<div>" * 20_000 + b"down here"
    assert isinstance(answer(Media.HTML, deep), Extracted | Refusal)
    assert "up here" in text(Media.HTML, b"<p>up here</p>" + deep)


def test_the_readers_are_loaded_only_when_needed() -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from ricochet_orchestrator.reading import Inputs, load\n"
        "load(Inputs((Path(sys.argv[1]),)))\n"
        "print(sorted({'lxml', 'pypdf', 'tiktoken'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(Path(__file__))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.stdout.strip() == "[]", done.stderr


def damage(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    damaged = bytearray(data)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    return bytes(damaged)


changes = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(KINDS)), changes)
def test_damaged_files_give_text_or_a_refusal(media: Media, where: list[tuple[int, int]]) -> None:
    found = answer(media, damage(KINDS[media][0], where))
    if isinstance(found, Extracted):
        found.text.encode()
        assert all(0 <= mark.start <= len(found.text) for mark in found.marks)
    else:
        assert found.hint and found.code.startswith("document_")


@pytest.mark.deep
@pytest.mark.timeout(900)
@settings(max_examples=3_000, deadline=None)
@given(st.sampled_from(list(KINDS)), changes)
def test_many_more_damaged_files(media: Media, where: list[tuple[int, int]]) -> None:
    found = answer(media, damage(KINDS[media][0], where))
    assert isinstance(found, Extracted | Refusal)
