"""From what a user names to a document: files, folders and standard input, each a part.

What is named is read or refused. What lies in a folder is read if it can be; the rest is listed, so
that nothing is left out in silence. Text is decoded here; other kinds are
extracted in a process of their own (`extraction`).
"""

import re
from pathlib import Path
from typing import Final

import msgspec

from ricochet_orchestrator.decoding import check_encoding, decode
from ricochet_orchestrator.document import Document, Mark, Part, document_of, part_of
from ricochet_orchestrator.extraction.process import extract
from ricochet_orchestrator.extraction.refusal import MAX_TEXT
from ricochet_orchestrator.media import HEAD, PLAIN, Form, Media, media_of
from ricochet_orchestrator.source_files import STDIN, STDIN_NAME, Found, Skipped, read, walk
from ricochet_protocol.errors import UsageError

_DECLARED: Final = re.compile(
    rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)=[\"']?([\w.:-]{1,40})", re.IGNORECASE
)


class Inputs(msgspec.Struct, frozen=True):
    """What to read: paths (`-` for standard input), and what their user says of them."""

    paths: tuple[Path, ...]
    media: Media | None = None
    encoding: str | None = None

    def words(self) -> tuple[str, ...]:
        """The same as arguments of `ricochet chain run`."""
        words = [str(path) for path in self.paths]
        words += [] if self.media is None else ["--type", self.media.value]
        words += [] if self.encoding is None else ["--encoding", self.encoding]
        return tuple(words)


class Loaded(msgspec.Struct, frozen=True):
    """A document, and what of the folders named is not in it."""

    document: Document
    skipped: tuple[Skipped, ...] = ()


def load(inputs: Inputs) -> Loaded:
    """The document that the inputs make; UsageError for what cannot be read or has no text."""
    check_encoding(inputs.encoding)
    if inputs.paths.count(STDIN) > 1:
        raise UsageError("usage", "Standard input can be read once.", "Give `-` once.")
    parts: list[Part] = []
    skipped: list[Skipped] = []
    for path in inputs.paths:
        if path != STDIN and path.is_dir():
            _read_folder(path, inputs, parts, skipped)
        else:
            name = STDIN_NAME if path == STDIN else path.name
            _add(parts, _part(name, read(path), inputs))
    return Loaded(document_of(_name(inputs.paths), tuple(parts)), tuple(skipped))


def part_from_bytes(name: str, data: bytes, media: Media | None = None) -> Part:
    """A part from the bytes of a file."""
    return _part(name, data, Inputs(paths=(), media=media))


def _read_folder(folder: Path, inputs: Inputs, parts: list[Part], skipped: list[Skipped]) -> None:
    """Add the folder's files; UsageError when not one of them could be read."""
    before = len(parts)
    prefix = f"{folder.name}/" if len(inputs.paths) > 1 and folder.name else ""
    for entry in walk(folder):
        name = f"{prefix}{entry.name}"
        if isinstance(entry, Found):
            try:
                part = _part(name, read(entry.path), inputs)
            except UsageError as error:
                skipped.append(Skipped(name, error.message))
            else:
                _add(parts, part)
        else:
            skipped.append(Skipped(name, entry.reason))
    if len(parts) == before:
        left_out = "; ".join(f"{one.name}: {one.reason}" for one in skipped[:3])
        raise UsageError(
            "folder_empty",
            f"{folder} holds no file that can be read" + (f" ({left_out})." if left_out else "."),
            "Name the files or folders that hold the text.",
        )


def _add(parts: list[Part], part: Part) -> None:
    parts.append(part)
    if sum(len(one.text) for one in parts) > MAX_TEXT:
        raise UsageError(
            "document_too_large",
            f"The document has more than {MAX_TEXT:,} characters.",
            "Run chains over parts of it, and one over what they found.",
        )


def _part(name: str, data: bytes, inputs: Inputs) -> Part:
    if not data:
        raise _empty(name)
    media = inputs.media or media_of(name, data[:HEAD])
    marks: tuple[Mark, ...] = ()
    if media in PLAIN:
        text, form = decode(name, data, inputs.encoding), PLAIN[media]
    else:
        found = extract(name, media, _in_utf8(name, media, data, inputs.encoding))
        text, marks = found.text, found.marks
        form = Form.TEXT if media is Media.PDF else Form.MARKDOWN
    if not text.strip():
        raise _empty(name)
    return part_of(name, text, media.value, form, marks)


def _in_utf8(name: str, media: Media, data: bytes, encoding: str | None) -> bytes:
    """HTML is text, in the encoding that it declares or its user names; the rest is as it is."""
    if media is not Media.HTML:
        return data
    declared = _DECLARED.search(data[:HEAD])
    try:
        text = decode(name, data, encoding)
    except UsageError:
        if encoding is not None or declared is None:
            raise
        text = decode(name, data, declared[1].decode())
    return text.encode()


def _empty(name: str) -> UsageError:
    return UsageError("document_empty", f"{name} has no text.", "Give a file that holds text.")


def _name(paths: tuple[Path, ...]) -> str:
    first = STDIN_NAME if paths[0] == STDIN else paths[0].absolute().name or str(paths[0])
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"
