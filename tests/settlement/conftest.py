"""One real dev chain for all tests of a worker; each test deploys its own contract on it."""

from collections.abc import Iterator

import pytest

from devchain_process import running_devchain


@pytest.fixture(scope="session")
def chain_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_devchain(tmp_path_factory.mktemp("chain") / "chain.db") as url:
        yield url
