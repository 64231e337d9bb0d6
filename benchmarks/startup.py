"""Start-up of the light commands, beside the interpreter's own: `python benchmarks/startup.py`.

Each round runs every command once, in turn, so that a drift of the machine's speed meets all of
them. Prints JSON: medians in seconds and the ratio to `python -c pass`, after one warm-up round.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 15
TARGET_SECONDS = 0.3
RICOCHET = str(Path(sys.executable).with_name("ricochet"))
LIGHT = ("ricochet --help", "ricochet chain list", "ricochet keys list")
JOINING = """
import gc
from ricochet_cli.main import NEW_OBJECTS_A_COLLECTION
gc.set_threshold(NEW_OBJECTS_A_COLLECTION)
import ricochet_network.libp2p_transport, ricochet_settlement.contract
"""
"""What a command that joins the network imports: web3, libp2p, and our own modules on them."""
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "ricochet --help": [RICOCHET, "--help"],
    "ricochet chain list": [RICOCHET, "chain", "list"],
    "ricochet keys list": [RICOCHET, "keys", "list"],
    "import web3, libp2p": [sys.executable, "-c", "import web3, libp2p"],
    "the same, as commands do": [sys.executable, "-c", JOINING],
}


def seconds(command: list[str], home: str) -> float:
    start = time.perf_counter()
    subprocess.run(
        command,
        env={**os.environ, "RICOCHET_HOME": home},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )
    return time.perf_counter() - start


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as home:
        for _ in range(ROUNDS + 1):
            for name, command in COMMANDS.items():
                times[name].append(seconds(command, home))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    baseline = medians["python -c pass"]
    document = {
        "rounds": ROUNDS,
        "load": os.getloadavg()[0],
        "target_seconds": TARGET_SECONDS,
        "median_seconds": {name: round(value, 4) for name, value in medians.items()},
        "ratio_to_python": {name: round(value / baseline, 1) for name, value in medians.items()},
        "within_target": all(medians[name] <= TARGET_SECONDS for name in LIGHT),
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
