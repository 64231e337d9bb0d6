"""The start of `ricochet serve`: `python -m benchmarks.orchestrator.serving [ROUNDS]`. Prints JSON.

A network of three nodes, as `ricochet demo --keep` starts it over the tests' upstream double, and
ROUNDS (10) starts of the server in its subscriber's home, each a process of its own. Told are the
seconds from the start of the process to the base URL on stdout, to the first answer of `/health`,
which needs no network, and to the first list of models and the first answer of a model, which have
to wait until the network is joined; and those of `python -c pass`, for what the machine is worth.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path[:0] = [str(TESTS)]

from live import ricochet, run_provider, start  # noqa: E402 - found by the path above

ROUNDS: Final = 10
ANSWER_SECONDS: Final = 30


@contextmanager
def subscriber(folder: Path) -> Iterator[Path]:
    """The home of a subscriber in a network that runs while the context lasts."""
    providers = run_provider(folder, delay_ms=0)
    provider = next(providers)
    keys = ("--upstream-keys", str(provider.keys_file))
    done = ricochet("demo", "--keep", "--upstream", provider.url, *keys, TMPDIR=str(folder))
    kept = list(folder.glob("ricochet-demo-*"))
    try:
        if done.returncode:
            raise SystemExit(done.stderr)
        yield kept[0] / "subscriber"
    finally:
        for one in kept:
            ricochet("dev", "stop", str(one))
        providers.close()


def fetched(url: str, key: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as reply:
        return json.load(reply)


def started(home: Path, key: str) -> dict[str, float]:
    """Seconds from the start of one server to each of its first answers."""
    begin = time.perf_counter()
    server = start("serve", "--port", "0", "--json", home=home)
    found: dict[str, float] = {}

    def reached(name: str) -> None:
        found[name] = time.perf_counter() - begin

    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        reached("base_url")
        fetched(url.removesuffix("/v1") + "/health", key)
        reached("health")
        model = fetched(f"{url}/models", key)["data"][0]["id"]
        reached("models")
        asked = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        fetched(f"{url}/chat/completions", key, asked)
        reached("answer")
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    finally:
        server.kill()
        server.communicate(timeout=20)
    return found


def bare() -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True, timeout=60)
    return time.perf_counter() - begin


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder, subscriber(Path(folder)) as home:
        key = ricochet("serve", "keys", "new", "measure", home=home).stdout.strip()
        started(home, key)  # the first one compiles and reads from the disk
        for _ in range(rounds):
            rows.append({"python": bare(), **started(home, key)})
    document: dict[str, Any] = {"rounds": rounds, "load": os.getloadavg()[0]}
    for name in rows[0]:
        values = [row[name] for row in rows]
        document[name] = {
            "median": round(statistics.median(values), 3),
            "worst": round(max(values), 3),
        }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
