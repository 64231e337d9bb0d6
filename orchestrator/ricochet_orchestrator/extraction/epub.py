"""EPUB to Markdown, chapter by chapter in reading order, each with a mark where it begins."""

import re
from posixpath import dirname, join, normpath
from typing import Final
from urllib.parse import unquote

from ricochet_orchestrator.document import Mark
from ricochet_orchestrator.extraction import html
from ricochet_orchestrator.extraction.archive import Archive
from ricochet_orchestrator.extraction.markdown import Markdown
from ricochet_orchestrator.extraction.refusal import (
    MAX_TEXT,
    Extracted,
    Refused,
    damaged,
    encrypted,
    too_large,
)
from ricochet_orchestrator.extraction.xml import parse

_CONTAINER: Final = "META-INF/container.xml"
_ENCRYPTION: Final = "META-INF/encryption.xml"
_PAGES: Final = ("application/xhtml+xml", "text/html")
_DECLARED: Final = re.compile(rb"<\?xml[^>]{0,80}encoding=[\"']([A-Za-z0-9._-]{1,40})[\"']")
_MAX_TITLE: Final = 120


def extract(data: bytes) -> Extracted:
    """The text of a book."""
    archive = Archive(data)
    locked = _locked(archive)
    pieces: list[str] = []
    marks: list[Mark] = []
    size = 0
    for number, path in enumerate(_chapters(archive), start=1):
        if path in locked:
            raise encrypted()
        title, text = _chapter(archive.read(path))
        marks.append(
            Mark(size, f"chapter {number}: {title}"[:_MAX_TITLE] if title else f"chapter {number}")
        )
        pieces.append(f"{text}\n" if text else "")
        size += len(pieces[-1])
        if size > MAX_TEXT:
            raise too_large()
    return Extracted("".join(pieces), tuple(marks))


def _chapter(data: bytes) -> tuple[str, str]:
    declared = _DECLARED.search(data[:200])
    markdown = Markdown()
    try:
        root = html.parse(data, declared[1].decode() if declared else "utf-8")
    except LookupError:
        raise damaged("a chapter of it names an unknown encoding") from None
    except Refused:
        return "", ""
    html.write(root, markdown)
    return html.title_of(root), markdown.text


def _chapters(archive: Archive) -> list[str]:
    """Paths of the pages in reading order."""
    container = parse(archive.read(_CONTAINER), _CONTAINER)
    package = next((one.get("full-path") for one in container.iter("{*}rootfile")), None)
    if package is None:
        raise damaged("it names no contents")
    root = parse(archive.read(package), package)
    pages = {
        item.get("id"): normpath(join(dirname(package), unquote(item.get("href", ""))))
        for item in root.iter("{*}item")
        if item.get("media-type") in _PAGES
    }
    order = [
        pages[one.get("idref")] for one in root.iter("{*}itemref") if one.get("idref") in pages
    ]
    if not order:
        raise damaged("it has no chapters")
    return order


def _locked(archive: Archive) -> set[str]:
    """Paths of what is encrypted; fonts often are, which does not matter here."""
    if _ENCRYPTION not in archive:
        return set()
    root = parse(archive.read(_ENCRYPTION), _ENCRYPTION)
    return {unquote(one.get("URI", "")) for one in root.iter("{*}CipherReference")}
