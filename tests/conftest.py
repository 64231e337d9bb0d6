from pathlib import Path

import pytest

import hardhat_project


@pytest.fixture(scope="session")
def hardhat_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This worker's own Hardhat build folder, with node_modules in place."""
    hardhat_project.install_node_modules()
    return tmp_path_factory.mktemp("hardhat")
