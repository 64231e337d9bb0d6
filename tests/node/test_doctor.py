"""What the doctor says of a home that is not ready; a ready one is in the walk."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ricochet_node.doctor import Finding, examine
from ricochet_settlement import examining

OFFER = """
offers:
  - {model: m, upstream_model: m, key: gone, context: 10, price_in: "1", price_out: "1"}
listen: [%s]
"""


def findings(home: Path) -> dict[str, Finding]:
    return {one.about: one for one in asyncio.run(examine(home))}


def test_an_empty_home_needs_everything(tmp_path: Path) -> None:
    found = findings(tmp_path / "new")
    assert found["network"].state == found["wallet"].state == found["offers"].state == "fail"
    assert "ricochet network join" in found["network"].mend
    assert "ricochet wallet new" in found["wallet"].mend
    assert "ricochet node offer" in found["offers"].mend
    assert "chain" not in found and "keys" not in found
    assert not (tmp_path / "new").exists()


def test_secrets_that_others_may_read(tmp_path: Path) -> None:
    (tmp_path / "peer.key").write_bytes(b"k" * 32)
    (tmp_path / "peer.key").chmod(0o644)
    found = findings(tmp_path)["secrets"]
    assert (found.state, found.mend) == ("fail", f"chmod 600 {tmp_path / 'peer.key'}")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text(OFFER % "/ip4/0.0.0.0/tcp/4001")
    found = findings(tmp_path)
    assert found["keys"].state == "fail" and "--name gone" in found["keys"].mend
    assert found["reach"].state == "ok"


@pytest.mark.parametrize(
    ("listen", "state", "word"),
    [
        ("/ip4/127.0.0.1/tcp/4001", "warn", "this machine only"),
        ("/ip4/0.0.0.0/tcp/0", "warn", "another port"),
        ("/dns4/example.org/tcp/4001", "ok", "listens on"),
    ],
)
def test_who_can_reach_the_node(tmp_path: Path, listen: str, state: str, word: str) -> None:
    (tmp_path / "node.yaml").write_text(OFFER % listen)
    found = findings(tmp_path)["reach"]
    assert found.state == state and word in found.message


def test_a_chain_that_does_not_answer(tmp_path: Path) -> None:
    # Port 9 of loopback (discard) has no listener on any machine that runs tests.
    network = {
        "rpc": "http://127.0.0.1:9",
        "chain_id": 1,
        "contract": "0x" + "a" * 40,
        "token": "0x" + "b" * 40,
        "bootstrap": [],
        "development": False,
    }
    (tmp_path / "network.json").write_text(json.dumps(network))
    found = findings(tmp_path)
    assert found["network"].state == "ok"
    assert found["chain"].state == "fail" and found["chain"].mend


def test_too_little_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        examining.shutil, "disk_usage", lambda _: SimpleNamespace(free=10 * 1024**2)
    )
    found = findings(tmp_path)["disk"]
    assert (found.state, found.message) == ("fail", "10 MB free")


def test_a_running_node_whose_identity_is_used_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def status(_: Path) -> dict[str, object]:
        places = ["/ip4/8.8.8.8/tcp/1"]
        return {
            "pid": 1,
            "open_calls": 0,
            "models": [],
            "peers_known": 3,
            "identity_used_at": places,
            "reached": None,
        }

    monkeypatch.setattr("ricochet_node.admin.status", status)
    found = findings(tmp_path)["identity"]
    assert found.state == "fail" and "8.8.8.8" in found.message and "--home" in found.mend


@pytest.mark.parametrize("reached", [None, True, False])
def test_whether_others_can_dial_a_running_node(
    reached: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def status(_: Path) -> dict[str, object]:
        return {
            "pid": 1,
            "open_calls": 0,
            "models": [],
            "listens": ["/ip4/192.168.0.5/tcp/4001/p2p/P"],
            "relays": [],
            "peers_known": 3,
            "identity_used_at": [],
            "reached": reached,
            "reached_at": "/ip4/8.8.8.8/tcp/4001/p2p/P" if reached else "",
            "seen_at": "" if reached is None else "8.8.8.8",
        }

    monkeypatch.setattr("ricochet_node.admin.status", status)
    found = findings(tmp_path)["dialled"]
    if reached is False:
        assert found.state == "warn" and "cannot dial" in found.message
        assert "port 4001" in found.mend and '"/ip4/8.8.8.8/tcp/4001"' in found.mend
    else:
        assert found.state == "ok" and not found.mend
        assert ("8.8.8.8" in found.message) == bool(reached)


def test_a_node_behind_relays_is_said_to_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def status(_: Path) -> dict[str, object]:
        return {
            "pid": 1,
            "open_calls": 0,
            "models": [],
            "listens": ["/ip4/192.168.0.5/tcp/4001/p2p/P"],
            "relays": ["R", "S"],
            "peers_known": 3,
            "identity_used_at": [],
            "reached": False,
            "reached_at": "",
            "seen_at": "8.8.8.8",
        }

    monkeypatch.setattr("ricochet_node.admin.status", status)
    found = findings(tmp_path)["dialled"]
    assert found.state == "ok" and not found.mend
    assert "through 2 relays" in found.message and "port 4001" in found.message
