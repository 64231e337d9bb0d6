"""Bytes of a file to text: UTF-8, UTF-16 and UTF-32 by their marks, others only when named.

Nothing is guessed: a guess that is wrong gives text that looks like text and reads as nonsense.
Line ends stay as they are; only a byte-order mark is dropped.
"""

import codecs
import re
from typing import Final

from ricochet_protocol.errors import UsageError

# UTF-32's little-endian mark begins with UTF-16's, so it is looked for first.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NEVER_TEXT: Final = re.compile(rb"[\x00-\x07\x0e-\x1a\x1c-\x1f]")


def decode(name: str, data: bytes, encoding: str | None = None) -> str:
    """The text of a file; UsageError for what is not text in the encoding, or has none."""
    if encoding is not None:
        text = _decode_as(name, data, encoding)
    else:
        marked = next((known for mark, known in _MARKS if data.startswith(mark)), "utf-8-sig")
        text = _decode_unicode(name, data, marked)
    if "\0" in text:
        raise _binary(name)
    return text


def check_encoding(encoding: str | None) -> None:
    """UsageError unless this Python knows the encoding."""
    try:
        if encoding is None or codecs.lookup(encoding)._is_text_encoding:
            return
    except LookupError:
        pass
    raise UsageError(
        "encoding_unknown",
        f"There is no text encoding {encoding!r}.",
        "Common ones: utf-8, utf-16-le, cp1252, latin-1, cp1251, koi8-r, shift_jis, gb18030.",
    )


def _decode_unicode(name: str, data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise _wrong(name, encoding, error.start) from None
        if _NEVER_TEXT.search(data[:65_536]):
            raise _binary(name) from None
        raise UsageError(
            "document_encoding",
            f"{name} is not UTF-8 (byte {error.start} is not), and nothing in it says what it is.",
            "If it is text, name its encoding: --encoding cp1252, or whichever it is.",
        ) from None


def _decode_as(name: str, data: bytes, encoding: str) -> str:
    check_encoding(encoding)
    try:
        text = data.decode(encoding)
        text.encode()
    except UnicodeDecodeError as error:
        raise _wrong(name, encoding, error.start) from None
    except (UnicodeError, ValueError):
        raise _wrong(name, encoding, 0) from None
    return text.removeprefix("\ufeff")


def _wrong(name: str, encoding: str, offset: int) -> UsageError:
    return UsageError(
        "document_encoding",
        f"{name} is not {encoding} (byte {offset}).",
        "Name the encoding it was written in: --encoding NAME. Or the file is damaged.",
    )


def _binary(name: str) -> UsageError:
    return UsageError(
        "document_binary",
        f"{name} is not text.",
        "Text, Markdown, HTML, PDF, DOCX, EPUB and source code can be read. If it is one of them "
        "under another name, say which: --type pdf.",
    )
