"""Starts the process that extracts a file, bounds its time, and says what became of it."""

import subprocess
import sys
from importlib.util import find_spec
from tempfile import TemporaryFile
from typing import Final

import msgspec

from ricochet_orchestrator.extraction.child import CPU_SECONDS, OUTPUT, too_costly
from ricochet_orchestrator.extraction.refusal import Extracted, Refusal, damaged
from ricochet_orchestrator.media import Media
from ricochet_protocol.errors import ConfigurationError, UsageError

WALL_SECONDS: Final = 2 * CPU_SECONDS
EXTRA: Final = 'pip install "ricochet-network[documents]"'
_LIBRARY: Final = {Media.PDF: "pypdf", Media.HTML: "lxml", Media.DOCX: "lxml", Media.EPUB: "lxml"}
_decoder: Final = msgspec.msgpack.Decoder[Extracted | Refusal](Extracted | Refusal)


def extract(name: str, media: Media, data: bytes) -> Extracted:
    """The text of a file.

    UsageError for a file that cannot be read, ConfigurationError when the library is missing.
    """
    library = _LIBRARY[media]
    if find_spec(library) is None:
        raise ConfigurationError(
            "document_library_missing",
            f"{name} is {media.value}, and {library}, which reads it, is not installed.",
            f"{EXTRA}, or give the text of it.",
        )
    found = _run(media, data)
    if isinstance(found, Refusal):
        raise UsageError(found.code, f"{name} {found.message}", found.hint)
    return found


def _run(media: Media, data: bytes) -> Extracted | Refusal:
    command = [sys.executable, "-P", "-B", "-m", "ricochet_orchestrator.extraction.child", media]
    # Files instead of pipes: what the child writes is bounded by its limit, not by our memory.
    with TemporaryFile() as source, TemporaryFile() as result:
        source.write(data)
        source.seek(0)
        try:
            done = subprocess.run(  # noqa: S603 - our own module, the kind is one of four words
                command,
                stdin=source,
                stdout=result,
                stderr=subprocess.DEVNULL,
                env={},
                timeout=WALL_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return too_costly("time").refusal
        if done.returncode < 0:
            return too_costly("time or memory").refusal
        size = result.seek(0, 2)
        result.seek(0)
        if done.returncode or not 0 < size <= OUTPUT:
            return damaged("its reader failed").refusal
        found: Extracted | Refusal = _decoder.decode(result.read())
        return found
