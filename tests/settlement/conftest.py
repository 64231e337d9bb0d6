"""One real chain of each kind for all tests of a worker; each test deploys its own contract."""

from collections.abc import Iterator

import pytest

from anvil_process import running_anvil
from devchain_process import running_devchain


@pytest.fixture(scope="session")
def chain_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_devchain(tmp_path_factory.mktemp("chain") / "chain.db") as url:
        yield url


@pytest.fixture(scope="session")
def anvil_url() -> Iterator[str]:
    with running_anvil() as url:
        yield url
