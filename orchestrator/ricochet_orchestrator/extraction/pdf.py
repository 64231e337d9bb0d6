"""PDF to text, page by page, each with a mark where it begins. Pages that are images have none."""

from io import BytesIO

from pypdf import PdfReader
from pypdf.errors import (
    FileNotDecryptedError,
    LimitReachedError,
    PdfReadError,
    WrongPasswordError,
)

from ricochet_orchestrator.document import Mark
from ricochet_orchestrator.extraction.refusal import (
    MAX_TEXT,
    Extracted,
    Refused,
    damaged,
    encrypted,
    too_large,
)


def extract(data: bytes) -> Extracted:
    """The text of a PDF file."""
    pieces: list[str] = []
    marks: list[Mark] = []
    size = 0
    try:
        reader = PdfReader(BytesIO(data))
        # Many files are encrypted with an empty password, which only forbids printing.
        if reader.is_encrypted and not reader.decrypt(""):
            raise encrypted()
        for number, page in enumerate(reader.pages, start=1):
            marks.append(Mark(size, f"page {number}"))
            text = _clean(page.extract_text()).rstrip()
            pieces.append(f"{text}\n\n" if text else "")
            size += len(pieces[-1])
            if size > MAX_TEXT:
                raise too_large()
    except (FileNotDecryptedError, WrongPasswordError):
        raise encrypted() from None
    except LimitReachedError:
        # One stream of it unpacks to more than 75 MB.
        raise too_large() from None
    except PdfReadError:
        raise damaged("it is not a whole PDF") from None
    if not size:
        raise Refused(
            "document_empty",
            "has no text: its pages are images, or it is empty.",
            "Recognize the text first, for example with ocrmypdf.",
        )
    return Extracted("".join(pieces), tuple(marks))


def _clean(text: str) -> str:
    """Without NUL and half characters, which fonts without a table of characters give."""
    return text.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
