"""A whole Ricochet network on this machine, and what a subscriber runs on it.

Everything goes through the `ricochet` command: `demo --keep` makes the network, `chain run` the
calls. The model is the local one, or any OpenAI-compatible server. One call without a chain goes
to that server directly: it is the baseline, which nothing of Ricochet's may hold back.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

RICOCHET: Final = (sys.executable, "-m", "ricochet_cli")
RUN_SECONDS: Final = 1800
CHAINS: Final = Path(__file__).with_name("chains")
_SEED: Final = "A short text, so that the network is up and paid for soon.\n"


class Model(msgspec.Struct, frozen=True):
    """A server that speaks OpenAI's API; `keys` are three, one for each node."""

    url: str
    name: str
    keys: tuple[str, ...]


class TooLong(Exception):
    """The prompt exceeds the model's window."""


class Network:
    """A running network; `run` runs chains as its subscriber."""

    def __init__(self, folder: Path, model: Model) -> None:
        self.folder = folder
        self._model = model
        self._home = folder / "subscriber"

    def run(self, chain: str, name: str, text: str) -> dict[str, Any]:
        """What `chain run --json` prints for a text; `chain` is one of ours or a template."""
        work = self.folder / "work"
        (work / ".ricochet").mkdir(parents=True, exist_ok=True)
        if not (own := work / ".ricochet" / "chains").exists():
            own.symlink_to(CHAINS)
        source = work / f"{name}.txt"
        source.write_text(text, "utf-8")
        done = subprocess.run(
            [*RICOCHET, "chain", "run", str(source), "--chain", chain, "--json"],
            cwd=work,
            env={**os.environ, "RICOCHET_HOME": str(self._home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=True,
            timeout=RUN_SECONDS,
        )
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def ask(self, prompt: str, max_tokens: int) -> str:
        """One call of the model itself; TooLong."""
        body = {
            "model": self._model.name,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        request = urllib.request.Request(
            f"{self._model.url}/chat/completions",
            json.dumps(body).encode(),
            {
                "Authorization": f"Bearer {self._model.keys[0]}",
                "Content-Type": "application/json",
                "Connection": "close",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=RUN_SECONDS) as response:
                text: str = json.load(response)["choices"][0]["message"]["content"]
                return text
        except urllib.error.HTTPError as error:
            if error.code == 400:
                raise TooLong from None
            raise


@contextmanager
def network(given: Model | None) -> Iterator[Network]:
    """A network for the context's time; `given` is the model to use, None the local one."""
    if given is not None:
        with _kept_demo(given) as folder:
            yield Network(folder, given)
        return
    with _local_model() as model, _kept_demo(model) as folder:
        yield Network(folder, model)


@contextmanager
def _local_model() -> Iterator[Model]:
    keys = tuple(secrets.token_urlsafe(24) for _ in range(3))
    with _keys_file(keys) as file:
        process = subprocess.Popen(
            [*RICOCHET, "dev", "model", "--keys-file", file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield Model(process.stdout.readline().strip(), "smollm2-135m-instruct", keys)
        finally:
            process.terminate()
            process.communicate(timeout=30)


@contextmanager
def _kept_demo(model: Model) -> Iterator[Path]:
    with _keys_file(model.keys) as keys, tempfile.NamedTemporaryFile("w", suffix=".txt") as seed:
        seed.write(_SEED)
        seed.flush()
        done = subprocess.run(
            [
                *(*RICOCHET, "demo", "--keep", "--document", seed.name, "--upstream", model.url),
                *("--upstream-keys", keys, "--upstream-model", model.name),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
            timeout=RUN_SECONDS,
        )
    folder = Path(done.stderr.rsplit("ricochet dev stop ", 1)[1].strip())
    try:
        yield folder
    finally:
        subprocess.run(
            [*RICOCHET, "dev", "stop", str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=120,
        )


@contextmanager
def _keys_file(keys: tuple[str, ...]) -> Iterator[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as file:
        file.write("\n".join(keys) + "\n")
        file.flush()
        yield file.name
