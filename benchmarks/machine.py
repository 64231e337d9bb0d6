"""What figures were measured on, for the pages and documents that hold them."""

import os
import platform
import time
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """`loop_ms` are those of a million additions in a bare loop, the best of five."""

    def additions() -> float:
        start, total = time.process_time(), 0
        for number in range(1_000_000):
            total += number
        return 1e3 * (time.process_time() - start)

    facts = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    named = (line.partition(":")[2].strip() for line in facts if line.startswith("model name"))
    return {
        "cpu": next(named, platform.machine()),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "loop_ms": round(min(additions() for _ in range(5))),
    }
