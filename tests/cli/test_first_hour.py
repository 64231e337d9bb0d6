"""The first hour of a subscriber and of a key owner, typed on a terminal, against a real network.

Both do as `ricochet init` says, in each language; what is expected on the screen comes from the
catalogue, so no word of it is written twice.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from live import KEYS, Kept, ricochet, until
from ricochet_cli import language
from ricochet_cli.language import t
from terminal import SECONDS, ended, on_terminal, type_hidden

pytestmark = [pytest.mark.deep, pytest.mark.timeout(600)]
PHRASE = "a phrase that nobody guesses"
PATIENCE = 3 * SECONDS


@pytest.fixture(params=["en", "ru"])
def spoken(request: pytest.FixtureRequest) -> Iterator[str]:
    language.choose({"RICOCHET_LANG": request.param})
    yield request.param
    language.choose({})


def init(home: Path, spoken: str, network: Path, actor: str) -> list[str]:
    """Answer what `init` asks; the commands that it names."""
    with on_terminal("init", home=home, RICOCHET_LANG=spoken) as child:
        child.expect_exact(t("Sell capacity (owner), run chains (subscriber), or both?"))
        child.sendline(actor)
        child.expect_exact(t("Path of your network's network.json (Enter: later)"))
        child.sendline(str(network))
        child.expect_exact(t("Make a new wallet, import one, or later?"))
        child.sendline("")
        child.expect_exact(f"{t('Passphrase')}: ")
        type_hidden(child, PHRASE)
        child.expect_exact(": ")
        type_hidden(child, PHRASE)
        code, shown = ended(child)
    assert code == 0 and PHRASE not in shown, shown
    first = re.escape(t("next: {step}", step="")) + "(ricochet .+)\r"
    then = re.escape(t("then: {step}", step="")) + "(ricochet .+)\r"
    return [*re.findall(first, shown), *re.findall(then, shown)]


def type_command(
    home: Path, spoken: str, line: str, shows: str, *, secrets: int = 0, **values: object
) -> str:
    """Give one command on a terminal, with the passphrase so often; what it showed."""
    with on_terminal(*line.split()[1:], home=home, RICOCHET_LANG=spoken) as child:
        child.timeout = PATIENCE
        for _ in range(secrets):
            child.expect_exact(t("Passphrase"))
            type_hidden(child, PHRASE)
        code, shown = ended(child)
    assert code == 0, (line, shown)
    assert PHRASE not in shown
    said = re.escape(t(shows, **dict.fromkeys(values, "\0"))).replace("\0", ".*")
    assert re.search(said, shown), (line, said, shown)
    return shown


def test_a_subscriber_comes_to_a_first_result(kept: Kept, spoken: str, tmp_path: Path) -> None:
    home, document = tmp_path / "me", tmp_path / "document.txt"
    document.write_text("This text is about a first hour. " * 200)
    steps = init(home, spoken, kept.network_file, "subscriber")
    assert steps == [
        "ricochet dev faucet",
        "ricochet subscribe --plan 10",
        "ricochet chain run FILE --chain overview",
    ]
    faucet = "{wallet} has ${dollars} more in test dollars, and gas"
    type_command(home, spoken, steps[0], faucet, wallet=0, dollars=0)
    paid = "period {period} is paid: budget {budget} for 30 days"
    type_command(home, spoken, steps[1], paid, secrets=1, period=0, budget=0)
    begun = "running {chain} over {document} as run {run}"
    run = steps[2].replace("FILE", str(document))
    shown = type_command(home, spoken, run, begun, chain=0, document=0, run=0)
    assert "Answer " in shown
    state = json.loads(ricochet("chain", "status", "--json", home=home).stdout)
    assert state["run"]["status"] == "completed"

    looked = ricochet("doctor", home=home, RICOCHET_LANG=spoken)
    assert looked.returncode == 0, looked.stdout
    assert t("about") in looked.stdout and "✗" not in looked.stdout
    again = json.loads(ricochet("init", "--as", "subscriber", "--json", home=home).stdout)
    assert again["next"] == ["ricochet chain run FILE --chain overview"]
    assert again["wallet"]["kept"] and again["network"]["kept"]


def test_an_owner_comes_to_a_serving_node(kept: Kept, spoken: str, tmp_path: Path) -> None:
    home = tmp_path / "owner"
    steps = init(home, spoken, kept.network_file, "owner")
    assert [" ".join(step.split()[1:3]) for step in steps] == [
        *("dev faucet", "keys add", "node offer", "node start")
    ]
    faucet = "{wallet} has ${dollars} more in test dollars, and gas"
    type_command(home, spoken, steps[0], faucet, wallet=0, dollars=0)
    url = ("--name", "ollama", "--url", kept.provider.url)
    words = ("keys", "add", "openai-compatible", *url)
    with on_terminal(*words, home=home, RICOCHET_LANG=spoken) as child:
        for secret in (KEYS[0], PHRASE, PHRASE):
            child.expect_exact(": ")
            type_hidden(child, secret)
        code, shown = ended(child)
    assert code == 0 and KEYS[0] not in shown and KEYS[0][-4:] in shown, shown
    offered = "{model} is offered at {price_in} in, {price_out} out per million tokens"
    offer = steps[2].replace("MODEL", "own-model")
    type_command(home, spoken, offer, offered, model=0, price_in=0, price_out=0)

    with on_terminal(*steps[3].split()[1:], home=home, RICOCHET_LANG=spoken) as node:
        node.timeout = PATIENCE
        node.expect_exact(t("Passphrase"))
        type_hidden(node, PHRASE)
        node.expect(r"/ip4/127\.0\.0\.1/tcp/\d+")
        until(lambda: _offers(home) == ["own-model"], "the node to answer", PATIENCE)
        looked = ricochet("doctor", "--offline", "--json", home=home)
        states = {(one["part"], one["about"]): one["state"] for one in json.loads(looked.stdout)}
        assert looked.returncode == 0, looked.stdout
        assert states["node", "node"] == states["node", "registration"] == "ok"
        assert states["subscriber", "subscription"] == "ok", "an owner needs none"
        node.sendintr()
        code, shown = ended(node)
    assert code == 0 and KEYS[0] not in shown, shown


def test_who_is_both_serves_and_runs_from_one_home(kept: Kept, tmp_path: Path) -> None:
    home, document = tmp_path / "both", tmp_path / "document.txt"
    document.write_text("This text is about doing both. " * 200)
    steps = init(home, "en", kept.network_file, "both")
    assert [" ".join(step.split()[1:3]) for step in steps] == [
        *("dev faucet", "subscribe --plan", "keys add", "node offer", "node start", "chain run")
    ]
    phrase, secret = tmp_path / "phrase", tmp_path / "key"
    phrase.write_text(PHRASE)
    secret.write_text(KEYS[0])
    unlocked = {"RICOCHET_PASSPHRASE_FILE": str(phrase)}
    provider = ("openai-compatible", "--name", "ollama", "--url", kept.provider.url)
    for words in (
        steps[0].split()[1:],
        steps[1].split()[1:],
        ["keys", "add", *provider, "--file", str(secret)],
        steps[3].replace("MODEL", "own-model").split()[1:],
    ):
        done = ricochet(*words, home=home, **unlocked)
        assert done.returncode == 0, (words, done.stderr)
    with on_terminal(*steps[4].split()[1:], home=home, **unlocked) as node:
        node.timeout = PATIENCE
        node.expect(r"/ip4/127\.0\.0\.1/tcp/\d+")
        until(lambda: _offers(home) == ["own-model"], "the node to answer", PATIENCE)
        words = steps[5].replace("FILE", str(document)).split()[1:]
        done = ricochet(*words, "--model", "own-model", "--json", home=home)
        assert done.returncode == 0, done.stderr
        looked = json.loads(ricochet("doctor", "--json", home=home).stdout)
        assert all(one["state"] != "fail" for one in looked), looked
        served = json.loads(ricochet("node", "stats", "--json", home=home).stdout)
        node.sendintr()
        assert ended(node)[0] == 0
    assert served["all"]["requests"], "its own node served the run"


def _offers(home: Path) -> list[str]:
    asked = ricochet("node", "status", "--json", home=home)
    if asked.returncode:
        return []
    return [model["model"] for model in json.loads(asked.stdout)["models"]]
