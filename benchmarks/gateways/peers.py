"""The gateways that ours is measured against, each installed into a cache folder of its own.

LiteLLM's proxy gets a virtual environment that has nothing to do with the project's (some of its
releases were malicious, so the version is exact), Portkey's gateway a folder of node modules, with
install scripts off. Both forward to the same upstream double with one key, as they do by default.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateways.load import Target
from gateways.processes import process

LITELLM: Final = "litellm[proxy]==1.106.2"
PORTKEY: Final = "@portkey-ai/gateway@1.15.2"
_INSTALL_SECONDS: Final = 900
_START_SECONDS: Final = 120


@dataclass(frozen=True)
class Peer:
    """One that has answered once."""

    pid: int
    first: float
    target: Target


def cache() -> Path:
    """Where they are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "ricochet-benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _install(folder: Path, done: Path, *commands: list[str]) -> None:
    if done.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for command in commands:
        subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            check=True,
            timeout=_INSTALL_SECONDS,
        )


@contextlib.contextmanager
def litellm(folder: Path, upstream: str, port: int, core: int) -> Iterator[Peer]:
    """LiteLLM's proxy with one worker, as its documentation says for production."""
    place = cache() / "litellm"
    program = place / "bin" / "litellm"
    _install(
        place,
        program,
        [sys.executable, "-m", "venv", "."],
        [str(place / "bin" / "pip"), "install", "--quiet", LITELLM],
    )
    config = folder / "litellm.yaml"
    model = {"model": "openai/fake", "api_base": upstream, "api_key": "sk-peer"}
    document = {
        "model_list": [{"model_name": "fake", "litellm_params": model}],
        "litellm_settings": {"num_retries": 0, "request_timeout": 60, "telemetry": False},
        "general_settings": {"master_key": "sk-bench"},
    }
    config.write_text(json.dumps(document), "utf-8")  # YAML reads JSON
    arguments = [str(program), "--config", str(config), "--host", "127.0.0.1"]
    arguments += ["--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    environment = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
    }
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    target = Target(url, "fake", {"Authorization": "Bearer sk-bench"})
    yield from _running(arguments, folder / "litellm.log", core, environment, target)


@contextlib.contextmanager
def portkey(folder: Path, upstream: str, port: int, core: int) -> Iterator[Peer]:
    """Portkey's gateway on Node, told by headers where to go."""
    place = cache() / "portkey"
    program = place / "node_modules/@portkey-ai/gateway/build/start-server.js"
    npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", PORTKEY]
    _install(place, program, npm)
    environment = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    headers = {
        "Authorization": "Bearer sk-peer",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": upstream,
    }
    target = Target(f"http://127.0.0.1:{port}/v1/chat/completions", "fake", headers)
    arguments = ["node", str(program), "--headless", f"--port={port}"]
    yield from _running(arguments, folder / "portkey.log", core, environment, target)


Start = Callable[[Path, str, int, int], AbstractContextManager[Peer]]
PEERS: Final[dict[str, Start]] = {"litellm": litellm, "portkey": portkey}


def _running(
    arguments: list[str], log: Path, core: int, environment: dict[str, str], target: Target
) -> Iterator[Peer]:
    start = time.perf_counter()
    with process(arguments, log, core, environment, piped=False) as child:
        while not answers(target):
            if child.poll() is not None or time.perf_counter() > start + _START_SECONDS:
                raise RuntimeError(f"{arguments[0]} does not answer: see {log}")
            time.sleep(0.02)
        yield Peer(child.pid, time.perf_counter() - start, target)


def answers(target: Target) -> bool:
    """Whether a gateway answers a chat completion."""
    message = {"role": "user", "content": "Say hello."}
    request = urllib.request.Request(
        target.url,
        json.dumps({"model": target.model, "messages": [message]}).encode(),
        {"Content-Type": "application/json", **target.headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
