"""`requirements.lock` fits `pyproject.toml`, pins by hash, and names no registry."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def test_the_lock_satisfies_every_dependency_with_hashes() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\\n    --hash=sha256:", lock, re.MULTILINE))
    assert len(pinned) == len(re.findall(r"^[a-z]", lock, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for text in project["dependencies"]:
        wanted = Requirement(text)
        version = pinned.get(canonicalize_name(wanted.name))
        assert version is not None, f"{wanted.name} is not in requirements.lock"
        assert wanted.specifier.contains(version, prereleases=True), f"{text}: locked {version}"


def test_the_lock_names_no_registry() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert not re.search(r"://|--index-url|--extra-index-url|--find-links", lock)
