"""network.json: what is saved is loaded, and nothing else passes for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.ids import Address
from ricochet_settlement import deployment
from ricochet_settlement.deployment import Deployment

SOME = Deployment(
    rpc="http://127.0.0.1:8545",
    chain_id=31337,
    contract=Address("0x" + "c0" * 20),
    token=Address("0x" + "70" * 20),
    bootstrap=("/ip4/127.0.0.1/tcp/4001/p2p/12D3KooW",),
    development=True,
)


def test_a_saved_deployment_is_loaded(tmp_path: Path) -> None:
    deployment.save(tmp_path / "home", SOME)
    assert deployment.load(tmp_path / "home") == SOME
    written = json.loads((tmp_path / "home" / "network.json").read_text())
    names = ["rpc", "chain_id", "contract", "token", "bootstrap", "development"]
    assert list(written) == [*names, "confirmations", "first_block", "members"]
    assert SOME.domain.network == f"eip155:31337:{SOME.contract}"


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        deployment.load(tmp_path)
    assert caught.value.code == "no_network"
    assert "ricochet demo --keep" in caught.value.hint
    assert str(tmp_path / "network.json") in caught.value.message


@pytest.mark.parametrize(
    "change",
    [
        {"rpc": "ftp://127.0.0.1"},
        {"rpc": "http://"},
        {"rpc": 7},
        {"rpc": "http://[::1"},
        {"chain_id": 0},
        {"chain_id": "31337"},
        {"chain_id": 2**63},
        {"contract": "0x12"},
        {"contract": "0x" + "C0" * 20},
        {"token": None},
        {"bootstrap": "one"},
        {"development": 1},
        {"confirmations": -1},
        {"confirmations": 121},
        {"confirmations": "12"},
        {"confirmations": True},
        {"first_block": -1},
        {"members": ["nobody"]},
        {"first_block": 2**63},
        {"surprise": 1},
    ],
)
def test_every_wrong_field_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    deployment.save(tmp_path, SOME)
    path = tmp_path / "network.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ConfigurationError) as caught:
        deployment.load(tmp_path)
    assert caught.value.code == "bad_network"
    assert str(path) in caught.value.message


def test_a_public_chain_is_believed_twelve_blocks_deep_unless_the_network_says_otherwise() -> None:
    assert SOME.depth == 0
    public = replace(SOME, development=False)
    assert public.depth == 12
    assert replace(public, confirmations=0).depth == 0
    assert replace(SOME, confirmations=3).depth == 3


def test_only_what_has_a_default_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    least = {"rpc": SOME.rpc, "chain_id": 1, "contract": SOME.contract, "token": SOME.token}
    path.write_text(json.dumps(least))
    assert deployment.load(tmp_path).bootstrap == ()
    for name in least:
        path.write_text(json.dumps({key: least[key] for key in least if key != name}))
        with pytest.raises(ConfigurationError):
            deployment.load(tmp_path)


@given(content=st.binary(max_size=200) | st.just(b"[" * 100_000))
def test_any_bytes_are_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / "network.json").write_bytes(content)
    with pytest.raises(ConfigurationError):
        deployment.load(home)


def test_light_commands_load_no_heavy_library() -> None:
    program = (
        "import sys\n"
        "import ricochet_settlement.deployment, ricochet_settlement.hot_key\n"
        "import ricochet_settlement.wallet\n"
        "heavy = {'web3', 'eth', 'eth_account', 'eth_keyfile', 'aiohttp', 'fastapi', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
