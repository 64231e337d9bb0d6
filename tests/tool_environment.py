"""Analysis tools in environments of their own: their dependencies clash with the project's.

They live in pytest's cache folder, so nothing is installed twice, and `pytest --cache-clear`
removes them. The caller pins versions: a newer tool may find more, which is a change to review.
"""

import subprocess
import venv
from pathlib import Path

from filelock import FileLock

TOOLS = Path(__file__).resolve().parents[1] / ".pytest_cache" / "d" / "tools"
INSTALL_SECONDS = 300


def tool_environment(name: str, *requirements: str) -> Path:
    """The `bin` folder of the environment `name` with exactly these requirements installed."""
    folder = TOOLS / name
    TOOLS.mkdir(parents=True, exist_ok=True)
    want = "\n".join(requirements)
    with FileLock(TOOLS / f"{name}.lock", timeout=INSTALL_SECONDS):
        stamp = folder / "installed"
        if not stamp.is_file() or stamp.read_text("utf-8") != want:
            venv.create(folder, with_pip=True, clear=True)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
            _run([*pip, *requirements])
            stamp.write_text(want, "utf-8")
    return folder / "bin"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    if done.returncode != 0:
        shown = " ".join(command)
        raise RuntimeError(f"{shown} ended with {done.returncode}\n{done.stdout}{done.stderr}")
