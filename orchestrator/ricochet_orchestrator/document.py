"""A document as text: read once, checked once, named by its content.

Only text gets past here: what is missing, empty, a folder or binary is refused with what to do
about it, before a subscription is looked up or a peer dialled. The text is kept exactly as it was
decoded (line ends included), so that segments can be traced to offsets in the source; only a
byte-order mark is dropped. Without a path, the document is a chapter of CPython's own language
reference, which every Python installation carries.
"""

import codecs
import hashlib
import sys
from pathlib import Path
from typing import Final

import msgspec

from ricochet_protocol.errors import UsageError

STDIN: Final = Path("-")
DEFAULT_TOPIC: Final = "compound"
"""About 11k tokens, several times the window of the local model."""
_WIDE_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Document(msgspec.Struct, frozen=True):
    """`sha256` is the hex digest of the text's UTF-8."""

    name: str
    text: str
    sha256: str


def load(path: Path | None) -> Document:
    """The document at `path`, standard input for `-`, the built-in one for None.

    UsageError for anything that is not text or has none.
    """
    if path is None:
        return default_document()
    if path == STDIN:
        return from_bytes("standard input", sys.stdin.buffer.read())
    return from_bytes(path.name, _read(path))


def default_document() -> Document:
    """The default document: "Compound statements" of the Python language reference."""
    from pydoc_data.topics import topics

    return _document(f"python-{DEFAULT_TOPIC}-statements", topics[DEFAULT_TOPIC])


def from_bytes(name: str, data: bytes) -> Document:
    """A document from the bytes of a file; UsageError unless they are non-blank UTF-8 text."""
    if data.startswith(_WIDE_MARKS):
        raise UsageError(
            "document_encoding",
            f"{name} is UTF-16, not UTF-8.",
            f"Convert it: iconv -f UTF-16 -t UTF-8 {name}",
        )
    if b"\0" in data:
        raise _binary(name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _binary(name, error.start) from None
    if not text.strip():
        raise UsageError(
            "document_empty", f"{name} has no text.", "Give a file that holds text, in UTF-8."
        )
    return _document(name, text)


def _document(name: str, text: str) -> Document:
    return Document(name=name, text=text, sha256=hashlib.sha256(text.encode()).hexdigest())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            "document_missing", f"There is no file {path}.", "Check the path and run it again."
        ) from None
    except IsADirectoryError:
        raise UsageError(
            "document_folder", f"{path} is a folder.", "Name one file inside it."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            "document_unreadable",
            f"{path} cannot be read: {reason}.",
            "Check the path and the file's permissions.",
        ) from None


def _binary(name: str, offset: int | None = None) -> UsageError:
    where = "" if offset is None else f" (byte {offset} is not UTF-8)"
    return UsageError(
        "document_binary",
        f"{name} is not text{where}.",
        "Convert it to text in UTF-8 first, for example with pdftotext or pandoc.",
    )
