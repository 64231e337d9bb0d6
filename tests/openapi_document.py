"""Writes docs/openapi.json, the description of the subscriber's API, as the server serves it."""

import json
from pathlib import Path

from ricochet_orchestrator.api.application import describe

PATH = Path(__file__).resolve().parents[1] / "docs" / "openapi.json"


def described() -> str:
    return json.dumps(describe().openapi(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    PATH.write_text(described(), "utf-8")
