"""Chains as they are on the disk, read again when a file has changed: checking one takes long."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ricochet_orchestrator.chain_language import Chain

MOST: Final = 256


def paths(home: Path) -> dict[str, Path]:
    """Name and file of every chain that can be run from the working folder."""
    from ricochet_orchestrator.chains import available, folders

    return available(folders(home, Path.cwd()))


def chain(path: Path) -> "Chain":
    """The chain in a file; UsageError when it is not one."""
    try:
        found = path.stat()
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
    except OSError:
        stamp = (0, 0, 0)
    return _read(path, stamp)


@lru_cache(maxsize=MOST)
def _read(path: Path, _stamp: tuple[int, int, int]) -> "Chain":
    from ricochet_orchestrator.chains import read

    return read(path)
