"""The process that opens a stranger's file: standard input to standard output, within limits.

It is started for one file, knows nothing but its bytes, and ends. Before it looks at them it bounds
its own memory, time and output, and from then on Python refuses it network, processes and writing.
That is a fence around mistakes of the libraries it uses (endless loops, bombs, fetching what a file
names), not a sandbox against code that a hostile file brings to run.
"""

import os
import sys
from typing import Any, Final

import msgspec

from ricochet_orchestrator.extraction.refusal import Extracted, Refusal, Refused, damaged
from ricochet_orchestrator.media import Media

MEMORY: Final = 1536 * 1024 * 1024
"""Bytes of address space. The largest file that may come, its text, and the interpreter, thrice."""
CPU_SECONDS: Final = 60
OUTPUT: Final = 256 * 1024 * 1024
"""Bytes. The most text there may be takes half."""
_FORBIDDEN: Final = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system")
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC


def main() -> None:
    """Extract standard input, which is of the kind that the first argument names."""
    media = Media(sys.argv[1])
    _limit()
    data = sys.stdin.buffer.read()
    sys.addaudithook(_refuse)
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer(media, data)))
    sys.stdout.buffer.flush()


def answer(media: Media, data: bytes) -> Extracted | Refusal:
    """What is in the file, or why that cannot be told."""
    try:
        return _extract(media, data)
    except Refused as refused:
        return refused.refusal
    except MemoryError:
        return too_costly("memory").refusal
    except Exception as error:
        return damaged(f"its reader failed ({type(error).__name__})").refusal


def too_costly(what: str) -> Refused:
    """For a file that takes more than a document may cost."""
    return Refused(
        "document_too_costly",
        f"takes too much {what} to read.",
        "It may be damaged, or made to do harm. Give its text, or a part of it.",
    )


def _extract(media: Media, data: bytes) -> Extracted:
    if media is Media.PDF:
        from ricochet_orchestrator.extraction import pdf

        return pdf.extract(data)
    if media is Media.DOCX:
        from ricochet_orchestrator.extraction import docx

        return docx.extract(data)
    if media is Media.EPUB:
        from ricochet_orchestrator.extraction import epub

        return epub.extract(data)
    from ricochet_orchestrator.extraction import html

    return html.extract(data)


def _limit() -> None:
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT, OUTPUT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
    if writes or event.startswith(_FORBIDDEN):
        raise PermissionError(event)


if __name__ == "__main__":
    main()
