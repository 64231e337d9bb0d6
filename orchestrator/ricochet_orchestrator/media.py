"""What kind of file something is: by what its user says, by its first bytes, then by its name.

First bytes come before the name because a PDF called `notes.txt` is still a PDF. A name that is not
known stands for text, which `decoding` refuses if it is none.
"""

import re
from enum import StrEnum
from pathlib import PurePath
from typing import Final


class Form(StrEnum):
    """What stands where a text may best be cut: blank lines, headings or definitions."""

    TEXT = "text"
    MARKDOWN = "markdown"
    CODE = "code"


class Media(StrEnum):
    """Kinds of files that can be read; the values are those of `--type`."""

    TEXT = "text"
    MARKDOWN = "markdown"
    CODE = "code"
    HTML = "html"
    PDF = "pdf"
    DOCX = "docx"
    EPUB = "epub"


PLAIN: Final = {
    Media.TEXT: Form.TEXT,
    Media.MARKDOWN: Form.MARKDOWN,
    Media.CODE: Form.CODE,
}
"""Kinds that are text as they are, with the form of their text."""
HEAD: Final = 1024
"""First bytes that tell a kind; a PDF's mark may stand anywhere in them."""
_CODE: Final = """
bash c cc cjs clj cpp cs css cxx dart erl ex exs fs go gradle groovy h hpp hs java jl js json jsx kt
lua m mjs ml mm nim php pl pm proto ps1 py pyi r rb rs sass scala scss sh sol sql svelte swift tcl
tf toml ts tsx vb vue xml yaml yml zig zsh
"""
_SUFFIXES: Final = {
    ".md": Media.MARKDOWN,
    ".markdown": Media.MARKDOWN,
    ".html": Media.HTML,
    ".htm": Media.HTML,
    ".xhtml": Media.HTML,
    ".pdf": Media.PDF,
    ".docx": Media.DOCX,
    ".epub": Media.EPUB,
} | {f".{suffix}": Media.CODE for suffix in _CODE.split()}
_HTML: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_ZIP: Final = b"PK\x03\x04"
_EPUB: Final = b"mimetypeapplication/epub+zip"
"""An EPUB's first entry, stored without compression as its format demands."""


def media_of(name: str, head: bytes) -> Media:
    """The kind of a file called `name` that begins with `head` (up to `HEAD` bytes)."""
    named = _SUFFIXES.get(PurePath(name).suffix.lower(), Media.TEXT)
    if b"%PDF-" in head and named in (Media.PDF, Media.TEXT):
        return Media.PDF
    if head.startswith(_ZIP):
        if _EPUB in head:
            return Media.EPUB
        return named if named in (Media.EPUB, Media.DOCX) else Media.DOCX
    if named is Media.TEXT and _HTML.match(head):
        return Media.HTML
    return named
