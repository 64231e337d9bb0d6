"""Members of a ZIP archive, read only as far as a document may go.

The sizes that an archive states are not believed: a member is unpacked piece by piece, and all that
is taken out of one archive counts together. So an archive that unpacks to a terabyte costs what its
first 128 MiB cost.
"""

import zlib
from io import BytesIO
from typing import Final
from zipfile import BadZipFile, ZipFile

from ricochet_orchestrator.extraction.refusal import MAX_CONTENT, damaged, encrypted, too_large

MAX_MEMBERS: Final = 20_000
_ENCRYPTED: Final = 1
_PIECE: Final = 1024 * 1024


class Archive:
    """An archive in memory; Refused for what cannot be read."""

    def __init__(self, data: bytes) -> None:
        try:
            self._zip = ZipFile(BytesIO(data))
            self._names = set(self._zip.namelist())
        except (BadZipFile, ValueError, OSError, NotImplementedError):
            raise damaged("it is not a whole ZIP archive") from None
        if len(self._names) > MAX_MEMBERS:
            raise damaged("it has too many parts")
        self._left = MAX_CONTENT

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def read(self, name: str) -> bytes:
        """A member's bytes."""
        if name not in self._names:
            raise damaged(f"{name} is missing in it")
        if self._zip.getinfo(name).flag_bits & _ENCRYPTED:
            raise encrypted()
        pieces = []
        try:
            with self._zip.open(name) as member:
                while piece := member.read(_PIECE):
                    pieces.append(piece)
                    self._left -= len(piece)
                    if self._left < 0:
                        raise too_large()
        except (BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError):
            raise damaged(f"{name} in it is broken") from None
        return b"".join(pieces)
