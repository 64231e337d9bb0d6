"""A home's peer ids, and what a private network means for two commands at once."""

import json
from pathlib import Path

import pytest

from ricochet_cli.main import main
from ricochet_protocol.ids import Address
from ricochet_protocol.signing import peer_of
from ricochet_settlement.deployment import Deployment, save
from ricochet_settlement.file_lock import locked


def test_a_home_has_two_ids_which_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    assert main(["network", "id", "--home", str(home), "--json"]) == 0
    ids = json.loads(capsys.readouterr().out)
    assert ids.keys() == {"node", "runs"} and ids["node"] != ids["runs"]
    assert main(["network", "id", "--home", str(home)]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[2:]] == [
        ["node", ids["node"]],
        ["runs", ids["runs"]],
    ]
    (home / "peer.key").write_text("damaged", "utf-8")
    assert main(["network", "id", "--home", str(home)]) == 3
    assert "does not hold a key" in capsys.readouterr().err


def test_in_a_private_network_a_second_command_is_told_to_wait(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contract, token = (Address("0x" + digits * 20) for digits in ("ab", "cd"))
    private = Deployment(
        rpc="http://127.0.0.1:9",
        chain_id=31337,
        contract=contract,
        token=token,
        members=(peer_of(b"\1" * 32),),
    )
    save(tmp_path, private)
    with locked(tmp_path / "subscriber.key"):
        assert main(["network", "status", "--home", str(tmp_path), "--json"]) == 1
        error = json.loads(capsys.readouterr().err)["error"]
        assert error["code"] == "identity_in_use" and "pause its run" in error["hint"]
    assert main(["network", "status", "--home", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["error"]["code"] != "identity_in_use"
