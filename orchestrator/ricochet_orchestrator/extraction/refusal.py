"""What an extractor finds in a file, or why it finds nothing: the values that cross the process."""

from typing import Final

import msgspec

from ricochet_orchestrator.document import Mark

MAX_TEXT: Final = 32 * 1024 * 1024
"""Characters of one file's text; the limit of a document too."""
MAX_CONTENT: Final = 128 * 1024 * 1024
"""Bytes that are taken out of an archive: markup is several times the text it holds."""


class Extracted(msgspec.Struct, frozen=True, tag="text"):
    """The text of a file, in Markdown unless it is a PDF's."""

    text: str
    marks: tuple[Mark, ...] = ()


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """`message` goes on after the file's name."""

    code: str
    message: str
    hint: str


class Refused(Exception):
    """Raised by an extractor."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(code)
        self.refusal = Refusal(code, message, hint)


def damaged(what: str) -> Refused:
    """For a file that is not what it says it is, or only half of it."""
    return Refused(
        "document_damaged",
        f"cannot be read: {what}.",
        "Open it in the program that made it and save it anew, or give its text.",
    )


def encrypted() -> Refused:
    """For a file that takes a password or a licence to read."""
    return Refused(
        "document_encrypted",
        "is encrypted.",
        "Remove the password in the program that made it, or give its text.",
    )


def too_large() -> Refused:
    """For a file that unpacks to more than a document may have."""
    return Refused(
        "document_too_large",
        f"unpacks to more than {MAX_TEXT // 1024 // 1024} MiB of text.",
        "Split it into several files. A file that is small itself was made to do harm.",
    )
