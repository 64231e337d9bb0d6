"""Fixtures of the command-line tests: a provider, and a network left running."""

import json
from collections.abc import Iterator

import pytest

from live import KEPT_DELAY, Kept, Provider, processes_of, ricochet, run_provider


@pytest.fixture
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    yield from run_provider(tmp_path_factory.mktemp("provider"), delay_ms=20)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """One network for all tests of a file: xdist keeps a file in one worker."""
    scratch = tmp_path_factory.mktemp("kept")
    delay = round(1000 * KEPT_DELAY)
    providers = run_provider(tmp_path_factory.mktemp("kept-provider"), delay_ms=delay)
    provider = next(providers)
    done = ricochet(
        *("demo", "--keep", "--json", "--upstream", provider.url),
        *("--upstream-keys", str(provider.keys_file)),
        TMPDIR=str(scratch),
    )
    folders = list(scratch.glob("ricochet-demo-*"))
    try:
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        yield Kept(folders[0], report, provider, provider.calls(), done.stdout + done.stderr)
    finally:
        for folder in folders:
            stopped = ricochet("dev", "stop", str(folder))
        providers.close()
    assert stopped.returncode == 0, stopped.stderr
    assert processes_of(scratch) == []
