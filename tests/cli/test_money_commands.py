"""A network founded, joined and paid for by commands, on one dev chain; run in this process."""

import asyncio
import io
import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from devchain_process import running_devchain
from ricochet_cli.main import main
from ricochet_protocol.eip712 import Reservation, Voucher, sign_reservation, sign_voucher
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.money import Units
from ricochet_protocol.signing import account_address, peer_of
from ricochet_settlement import operator
from ricochet_settlement.contract import ContractSettlement
from ricochet_settlement.deployment import load
from ricochet_settlement.devchain.accounts import dev_address, dev_key
from ricochet_settlement.hot_key import load_or_create

DAY = 24 * 3600
NODE = dev_key(1)
TREASURY = "0x" + "7e" * 20
PHRASE = "a phrase that nobody guesses"


@pytest.fixture(scope="module")
def rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_devchain(tmp_path_factory.mktemp("money") / "chain.db") as url:
        yield url


class Person:
    """Runs commands in a home of its own, whose wallet is a dev account that opens quickly."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str], account: int) -> None:
        self.home = home
        self._capsys = capsys
        self.phrase = home.with_name(f"{home.name}.phrase")
        self.phrase.write_text(PHRASE + "\n")
        self.keystore = home.with_name(f"{home.name}.keystore")
        encrypted = Account.encrypt(dev_key(account), PHRASE, kdf="scrypt", iterations=2)
        self.keystore.write_text(json.dumps(encrypted))
        self.keystore.chmod(0o600)

    def run(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        self._capsys.readouterr()
        ended = main([*arguments, "--home", str(self.home)])
        said = self._capsys.readouterr()
        assert ended == code, said.err
        return said.out, said.err

    def signed(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        return self.run(*arguments, "--passphrase-file", str(self.phrase), code=code)

    def error(self, *arguments: str, code: int) -> str:
        """The error's code."""
        _, err = self.signed(*arguments, "--json", code=code)
        stated: str = json.loads(err.splitlines()[-1])["error"]["code"]
        return stated


@pytest.fixture
def person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Person:
    return Person(tmp_path / "me", capsys, account=3)


def warp(rpc: str, seconds: int) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "evm_increaseTime", "params": [seconds]}
    request = urllib.request.Request(
        rpc, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).close()


async def earn(home: Path, subscriber: Address, reserved: int, claimed: int) -> None:
    """A node serves: its reservation and voucher come from the home's session key."""
    deployment = load(home)
    delegate = load_or_create(home / "session.key")
    node = account_address(NODE)
    await operator.register_node(deployment, NODE, peer_of(NODE), (), node)
    settlement = await ContractSettlement.connect(deployment, NODE)
    try:
        to = {"subscriber": subscriber, "node": node, "period": Period(1)}
        kept = Reservation(**to, total=Units(reserved))
        due = Voucher(**to, cumulative=Units(claimed))
        for outcome in (
            *await settlement.reserve([sign_reservation(delegate, deployment.domain, kept)]),
            *await settlement.claim([sign_voucher(delegate, deployment.domain, due)]),
        ):
            assert outcome.accepted, outcome
    finally:
        await settlement.close()


@pytest.mark.slow
def test_from_founding_to_refund(rpc: str, person: Person, tmp_path: Path) -> None:
    me = dev_address(3)
    out, _ = person.signed("wallet", "import", "--file", str(person.keystore))
    assert out.strip() == me
    network = tmp_path / "network.json"
    out, err = person.signed(
        *("contracts", "deploy", "--rpc", rpc, "--treasury", TREASURY, "--out", str(network)),
        *("--bootstrap", "/ip4/127.0.0.1/tcp/1/p2p/x", "--json"),
    )
    assert json.loads(out) == json.loads(network.read_text())
    assert "create Ricochet: confirmed 0x" in err
    person.run("network", "join", str(network))
    assert load(person.home).bootstrap == ("/ip4/127.0.0.1/tcp/1/p2p/x",)
    person.run("dev", "faucet", "--dollars", "40")

    assert "no subscription" in person.run("subscription", "show")[0]
    assert person.error("subscription", "top-up", "5", code=4) == "no_subscription"
    out, err = person.signed("subscribe", "--plan", "10", "--auto-renew", "--json")
    assert json.loads(out)["budget"] == 10_000_000
    lines = [line.split()[:2] for line in err.splitlines()]
    for label in ("approve:", "subscribe:"):
        stages = [status for what, status in lines if what == label]
        assert stages == ["queued", "sent", "confirmed"]
    person.signed("subscription", "top-up", "2.50")
    asyncio.run(earn(person.home, me, 60_000, 40_000))

    shown = json.loads(person.run("subscription", "show", "--json")[0])
    assert shown["running"] and shown["auto_renew"] and shown["refundable"] == 0
    assert shown["period"]["budget"] == 12_500_000
    assert (shown["period"]["committed"], shown["period"]["paid"]) == (60_000, 40_000)
    earned = {"period": 1, "node": dev_address(1), "committed": 60_000, "claimed": 40_000}
    assert shown["nodes"] == [earned]
    text = person.run("subscription", "show")[0]
    assert dev_address(1) in text and "$0.06" in text and "$0.04" in text and "automatic" in text

    spent = json.loads(person.run("subscription", "spending", "--json")[0])
    assert not spent["accounted"]  # this home has not recorded what it signed here
    assert (spent["accounts"][0]["node"], spent["accounts"][0]["claimed"]) == (
        dev_address(1),
        40_000,
    )
    old = load_or_create(person.home / "session.key")
    done = json.loads(person.signed("subscription", "rotate-session", "--json")[0])
    shown = json.loads(person.run("subscription", "show", "--json")[0])
    assert done["delegate"] == shown["period"]["delegate"] != account_address(old)
    assert (done["replaced"], load_or_create(Path(done["kept"]))) == (account_address(old), old)

    assert person.error("subscription", "renew", code=1) == "reverted"  # four weeks too early
    person.signed("subscription", "cancel")
    assert not json.loads(person.run("subscription", "show", "--json")[0])["auto_renew"]
    person.signed("subscription", "auto-renew")
    warp(rpc, 28 * DAY)
    out, _ = person.signed("subscription", "renew", "--json")
    assert json.loads(out)["budget"] == 10_000_000
    assert person.error("subscription", "refund", code=2) == "nothing_to_refund"
    assert "no period" in person.signed("subscription", "close")[1]

    warp(rpc, 10 * DAY)
    out, _ = person.signed("subscription", "close", "--json")
    assert json.loads(out) == [{"period": 1, "refundable": 12_460_000}]
    before = json.loads(person.run("wallet", "show", "--json")[0])["tokens"]
    out, _ = person.signed("subscription", "refund", "--json")
    assert json.loads(out) == {"refunded": 12_460_000}
    after = json.loads(person.run("wallet", "show", "--json")[0])["tokens"]
    assert after - before == 12_460_000

    rows: list[dict[str, Any]] = json.loads(person.run("wallet", "transactions", "--json")[0])
    assert [row["what"] for row in rows if row["status"] == "confirmed"] == [
        *("approve", "subscribe", "topUp", "setDelegate", "setAutoRenew", "approve"),
        *("approve", "setAutoRenew", "renew", "close period 1", "refund"),
    ]
    (failed,) = [row for row in rows if row["status"] == "failed"]
    assert failed["what"] == "renew" and failed["why"] and failed["hash"] is None
    assert rows[1]["hash"] in person.run("wallet", "transactions")[0]


@pytest.mark.slow
def test_an_owner_changes_payout_and_treasury_by_command(
    rpc: str, person: Person, tmp_path: Path
) -> None:
    me, other = dev_address(3), "0x" + "ee" * 20
    person.signed("wallet", "import", "--file", str(person.keystore))
    network = tmp_path / "network.json"
    to = ("--treasury", me, "--out", str(network))
    person.signed("contracts", "deploy", "--rpc", rpc, *to)
    person.run("network", "join", str(network))

    assert person.error("node", "payout", "queue", other, code=3) == "not_registered"
    asyncio.run(operator.register_node(load(person.home), dev_key(3), peer_of(NODE), (), me))
    assert person.error("node", "payout", "queue", "0x12", code=2) == "bad_address"
    out, err = person.signed("node", "payout", "queue", other)
    assert other in out and "UTC" in out and "queuePayout: confirmed" in err
    assert person.error("node", "payout", "apply", code=2) == "payout_not_due"
    person.signed("node", "payout", "cancel")
    assert person.error("node", "payout", "cancel", code=2) == "nothing_queued"
    person.signed("node", "payout", "queue", other)
    warp(rpc, 2 * DAY)
    assert "next: ricochet node payout apply" in person.run("node", "payout", "show")[1]
    applied = json.loads(person.signed("node", "payout", "apply", "--json")[0])
    shown = person.run("node", "payout", "show", "--operator", me, "--json")[0]
    assert json.loads(shown) == applied
    assert (applied["payout"], applied["queued"], applied["due"]) == (other, None, None)

    assert "is taken" in person.run("contracts", "status")[0]
    assert "not taken: paused" in person.signed("contracts", "pause")[0]
    assert person.error("subscribe", code=3) == "contract_paused"
    assert not json.loads(person.signed("contracts", "unpause", "--json")[0])["paused"]
    out, err = person.signed("contracts", "transfer-treasury", other)
    assert other in out and "accept-treasury" in err
    assert person.error("contracts", "accept-treasury", code=3) == "not_offered"
    state = json.loads(person.run("contracts", "status", "--json")[0])
    assert (state["treasury"], state["pending"], state["node_percent"]) == (me, other, 70)


def test_a_deployment_is_checked_before_it_is_for_ever(
    rpc: str, person: Person, tmp_path: Path
) -> None:
    person.signed("wallet", "import", "--file", str(person.keystore))
    out = tmp_path / "network.json"
    base = ("contracts", "deploy", "--out", str(out))
    good = ("--treasury", TREASURY)
    for arguments, error in (
        (("--rpc", rpc, "--treasury", "me"), "bad_address"),
        (("--rpc", "127.0.0.1:8545", *good), "bad_rpc"),
        (("--rpc", rpc, *good, "--token", "0x12"), "bad_address"),
        (("--rpc", rpc, *good, "--token", TREASURY), "wrong_token"),
    ):
        assert person.error(*base, *arguments, code=2) == error
    assert person.error(*base, "--rpc", "http://127.0.0.1:9", *good, code=1) == "chain_unreachable"
    assert not out.exists()
    out.write_text("mine")
    assert person.error(*base, "--rpc", rpc, *good, code=2) == "file_exists"
    assert out.read_text() == "mine"


def test_a_private_key_is_imported_and_never_shown(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = bytes([9]) * 32
    monkeypatch.setattr(sys, "stdin", io.StringIO("0x" + key.hex() + "\n"))
    out, err = person.signed("wallet", "import", "--stdin", "--json")
    assert json.loads(out) == {"address": account_address(key)}
    assert key.hex() not in out + err + (person.home / "wallet.json").read_text()
    file = tmp_path / "key"
    file.write_text(key.hex())
    file.chmod(0o600)
    assert person.error("wallet", "import", "--file", str(file), code=3) == "wallet_exists"


@pytest.mark.parametrize("amount", ["", "five", "1e3", "nan", "1.0000001", "$-5", "9" * 5000])
def test_what_is_no_amount_is_refused_before_anything_else(person: Person, amount: str) -> None:
    assert person.error("subscription", "top-up", amount, code=2) == "bad_amount"


def test_only_the_plans_are_for_sale(person: Person) -> None:
    assert person.error("subscribe", "--plan", "7", code=2) == "usage"


@pytest.mark.parametrize("text", ["0", "0x" + "00" * 32, "ff" * 32, "zz" * 32, "ab" * 33])
def test_what_is_no_private_key_is_refused_and_not_shown(
    person: Person, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    file.chmod(0o600)
    _, err = person.signed("wallet", "import", "--file", str(file), "--json", code=3)
    assert json.loads(err)["error"]["code"] == "bad_key" and text * 2 not in err
    assert len(text) < 8 or text not in err
    assert not (person.home / "wallet.json").exists()


def test_a_keystore_needs_its_own_passphrase(person: Person) -> None:
    person.phrase.write_text("another\n")
    arguments = ("wallet", "import", "--file", str(person.keystore))
    assert person.error(*arguments, code=3) == "wrong_passphrase"
    assert not (person.home / "wallet.json").exists()
    assert person.error(*arguments, "--stdin", code=2) == "usage"
