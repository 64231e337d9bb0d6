"""Files that only their owner reads, and that are never seen half written.

Data goes to a temporary file of mode 0600 beside the target, reaches the disk, and takes the
target's name in one step; a crash leaves the old file or the new one. A file that others can read
is refused rather than repaired: its content may already be known.
"""

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ricochet_protocol.errors import ConfigurationError, LocalFault

MAX_PRIVATE: Final = 1024 * 1024
"""Keys, wallets and keystores are far smaller; whatever is larger is not one of them."""


def write_private(path: Path, data: bytes) -> None:
    """Write `data`, replacing what was there; LocalFault `file_unwritable`."""
    _place(path, data, os.replace)


def create_private(path: Path, data: bytes) -> bool:
    """Write `data` unless the file exists; whether it was written. LocalFault `file_unwritable`.

    Of several processes that create the same file at once, exactly one succeeds.
    """
    try:
        _place(path, data, os.link)
    except FileExistsError:
        return False
    return True


def read_private(path: Path) -> bytes:
    """The file's bytes; ConfigurationError when it is missing or when others can read it."""
    try:
        # Non-blocking, so that a named pipe in the file's place cannot hang the program.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ConfigurationError(
            "file_missing", f"{path} does not exist", "Check --home and RICOCHET_HOME."
        ) from None
    except OSError as error:
        raise ConfigurationError(
            "file_unreadable", f"cannot read {path}: {error.strerror}", "Check who owns the file."
        ) from None
    try:
        _check_mode(path, os.fstat(descriptor).st_mode)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_PRIVATE)
    finally:
        os.close(descriptor)


def _check_mode(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ConfigurationError(
            "file_unreadable", f"{path} is not a file", "Move away what is in its place."
        )
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(
            "file_exposed",
            f"other users of this machine can read {path}",
            f"If nobody has read it, run `chmod 600 {path}`; otherwise replace what it holds.",
        )


def _place(path: Path, data: bytes, into_place: Callable[[str, Path], None]) -> None:
    temporary = ""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp creates with mode 0600 and a name nobody can have guessed.
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        into_place(temporary, path)
        sync_folder(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise LocalFault(
            "file_unwritable",
            f"cannot write {path}: {error.strerror}",
            "Check free space and permissions, or choose another folder with --home.",
        ) from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the new name itself durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
