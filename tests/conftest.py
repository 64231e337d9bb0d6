import os
from pathlib import Path

import pytest
from hypothesis import settings

import hardhat_project

# The same examples in every run, and no deadline: a busy machine must not decide a test.
settings.register_profile("ricochet", derandomize=True, deadline=None)
settings.load_profile("ricochet")


# Tests read English, whatever their machine speaks; LC_ALL reaches the processes they start.
os.environ["LC_ALL"] = "C.UTF-8"


@pytest.fixture(scope="session")
def hardhat_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This worker's own Hardhat build folder, with node_modules in place."""
    hardhat_project.install_node_modules()
    return tmp_path_factory.mktemp("hardhat")
