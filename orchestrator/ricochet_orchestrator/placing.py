"""Files that people edit too are replaced in one step: the old content or the new, never half."""

import os
import tempfile
from pathlib import Path

from ricochet_protocol.errors import LocalFault


def place(path: Path, data: bytes) -> None:
    """Write a file in one step; LocalFault `file_unwritable`."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise LocalFault(
            "file_unwritable", f"{path} cannot be written: {error.strerror}.", "Check permissions."
        ) from None
