"""Anvil in its own process: a second implementation of a chain, which can reorganise."""

import json
import platform
import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hardhat_project import ROOT, install_node_modules
from ricochet_settlement.devchain.accounts import DEV_ACCOUNTS, DEV_BALANCE, dev_address

_PROGRAM = ROOT / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
_LISTENING = re.compile(r"Listening on (127\.0\.0\.1:\d+)\n")


@contextmanager
def running_anvil() -> Iterator[str]:
    """The URL of an anvil on which our dev accounts hold ether; ended with the context."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("package-lock.json pins anvil for Linux on x86-64 alone")
    install_node_modules()
    process = subprocess.Popen(
        [str(_PROGRAM), "--host", "127.0.0.1", "--port", "0", "--accounts", "1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    reader = threading.Thread(target=process.stdout.read, daemon=True)
    try:
        found = None
        while found is None:
            line = process.stdout.readline()
            if not line:
                raise AssertionError("anvil did not start; its error is above")
            found = _LISTENING.match(line)
        reader.start()  # anvil logs every request, and a full pipe would stop it
        url = f"http://{found[1]}"
        for number in range(DEV_ACCOUNTS):
            ask(url, "anvil_setBalance", dev_address(number), hex(DEV_BALANCE))
        yield url
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        finally:
            process.kill()
            if reader.is_alive():
                reader.join(timeout=20)
            process.stdout.close()


def ask(url: str, method: str, *params: Any) -> Any:
    """The result of one request; AssertionError with the error instead of one."""
    answer = answer_of(url, method, *params)
    assert "error" not in answer, answer
    return answer["result"]


def answer_of(url: str, method: str, *params: Any) -> dict[str, Any]:
    """The whole answer to one request."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        said: dict[str, Any] = json.load(answer)
        return said
