"""A network used by hand, as the README shows it; and what its users get told when it cannot work.

All tests share one network (`kept`), whose provider takes 100 ms a call.
"""

import json
import re
import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from mcp import Client
from mcp_stage import command, result_of, talk

from demo_report import NODE, SHAPE, check_money, has_shape
from live import COMMAND_SECONDS, KEYS, Kept, failed, processes_of, ricochet, start, until
from ricochet_node.weights import MODEL_NAME
from ricochet_orchestrator.control import Runs
from ricochet_protocol.errors import LocalFault
from ricochet_settlement.transaction_store import read_transactions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def phrase(tmp_path: Path) -> str:
    file = tmp_path / "phrase"
    file.write_text("correct horse battery staple\n")
    return str(file)


@pytest.fixture
def newcomer(kept: Kept, tmp_path: Path, phrase: str) -> Path:
    """A home with a wallet and test money, not yet subscribed."""
    home = tmp_path / "me"
    assert ricochet("network", "join", str(kept.network_file), home=home).returncode == 0
    assert ricochet("wallet", "new", "--passphrase-file", phrase, home=home).returncode == 0
    assert ricochet("dev", "faucet", home=home).returncode == 0
    return home


def document(folder: Path, paragraphs: int, about: str) -> Path:
    file = folder / "document.txt"
    text = f"This paragraph is about {about}. " * 60
    file.write_text("\n\n".join(f"{n}. {text}" for n in range(paragraphs)))
    return file


def test_every_unit_is_accounted_for(kept: Kept) -> None:
    report = kept.report
    assert set(report) == set(SHAPE) and has_shape(report, SHAPE)
    assert len(report["nodes"]) == 3
    assert all(set(node) == set(NODE) and has_shape(node, NODE) for node in report["nodes"])
    check_money(report)
    run = report["run"]
    assert run["calls"] == run["steps"] == kept.demo_calls
    for field in ("calls", "tokens_in", "tokens_out"):
        assert run[field] == sum(node[field] for node in report["nodes"])
    assert report["output"].startswith("Answer ")
    assert not any(key in kept.printed for key in KEYS)
    sent = [row.intent.label for row in read_transactions(kept.folder / "subscriber")]
    assert sent[:2] == ["approve", "subscribe"]


def test_subscriber_walk(newcomer: Path, phrase: str, tmp_path: Path) -> None:
    shown = json.loads(ricochet("wallet", "show", "--json", home=newcomer).stdout)
    assert shown["tokens"] == 20_000_000
    paid = ricochet(
        *("subscribe", "--plan", "10", "--json", "--passphrase-file", phrase), home=newcomer
    )
    assert json.loads(paid.stdout)["budget"] == 10_000_000
    assert json.loads(ricochet("wallet", "show", "--json", home=newcomer).stdout)["tokens"] == (
        10_000_000
    )
    looked = ricochet("doctor", "--json", home=newcomer)
    found = {one["about"]: one["state"] for one in json.loads(looked.stdout)}
    assert looked.returncode == 0 and set(found.values()) == {"ok"}, looked.stdout
    assert {"chain", "subscription", "session", "peers"} <= set(found)
    file = document(tmp_path, 6, "a walk")
    done = ricochet("chain", "run", str(file), "--chain", "overview", home=newcomer)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Answer ")
    assert "first token" in done.stderr and "ETA" in done.stderr
    status = json.loads(ricochet("chain", "status", "--json", home=newcomer).stdout)
    assert status["run"]["status"] == "completed"
    assert status["run"]["done"] == status["run"]["steps"] == len(status["steps"])
    assert status["output"] + "\n" == done.stdout
    text = ricochet("chain", "status", status["run"]["id"], home=newcomer).stdout
    assert "100%" in text or f"{status['run']['steps']}/{status['run']['steps']}" in text


def test_owner_walk(kept: Kept, newcomer: Path, phrase: str) -> None:
    key = KEYS[0]
    added = ricochet(
        *("keys", "add", "openai-compatible", "--name", "mine", "--url", kept.provider.url),
        *("--stdin", "--passphrase-file", phrase),
        home=newcomer,
        stdin=key + "\n",
    )
    assert added.returncode == 0, added.stderr
    assert key not in added.stdout + added.stderr
    offered = ricochet(
        *("node", "offer", "own-model", "--key", "mine", "--price-in", "0.10"),
        *("--price-out", "0.20", "--context", "4096", "--upstream-model", "any"),
        home=newcomer,
    )
    assert offered.returncode == 0, offered.stderr
    node = start("node", "start", "--passphrase-file", phrase, home=newcomer)
    try:
        assert node.stdout is not None
        address = node.stdout.readline()
        assert address.startswith("/ip4/127.0.0.1/tcp/"), node.communicate(timeout=20)
        status = json.loads(ricochet("node", "status", "--json", home=newcomer).stdout)
        assert address.strip() in status["addresses"]
        assert [model["model"] for model in status["models"]] == ["own-model"]
        examined = ricochet("node", "doctor", "--json", home=newcomer)
        assert examined.returncode == 0, examined.stdout
        findings = {one["about"]: one for one in json.loads(examined.stdout)}
        assert {name for name, one in findings.items() if one["state"] == "ok"} == {
            *("disk", "secrets", "network", "wallet", "offers", "keys"),
            *("chain", "clock", "registration", "gas", "node", "dialled"),
        }
        assert findings["reach"]["state"] == "warn" and "listen" in findings["reach"]["mend"]
        stopped = ricochet("node", "stop", "--json", home=newcomer)
        assert json.loads(stopped.stdout) == {"stopped": node.pid}
    finally:
        node.send_signal(signal.SIGTERM)
        _, log = node.communicate(timeout=30)
    assert node.returncode == 0, log
    assert key not in log
    hint = failed(ricochet("node", "status", "--json", home=newcomer), 1, "node_not_running")
    assert "ricochet node start" in hint
    listed = json.loads(ricochet("keys", "list", "--json", home=newcomer).stdout)
    assert [(entry["id"], entry["ends"]) for entry in listed] == [("mine", KEYS[0][-4:])]
    assert ricochet("keys", "remove", "mine", home=newcomer).returncode == 0
    assert json.loads(ricochet("keys", "list", "--json", home=newcomer).stdout) == []


def test_a_killed_run_goes_on_without_asking_again(kept: Kept, tmp_path: Path) -> None:
    home = kept.folder / "subscriber"
    file = document(tmp_path, 40, "persistence")
    before = kept.provider.calls()
    first = start("chain", "run", str(file), "--json", home=home)
    until(lambda: kept.provider.calls() - before >= 6, "six calls")
    first.kill()
    first.communicate(timeout=20)
    until(lambda: _quiet(kept), "the calls under way")
    stored = json.loads(ricochet("chain", "status", "--json", home=home).stdout)["run"]
    assert 0 < stored["done"] < stored["steps"]
    asked = kept.provider.calls() - before
    done = ricochet("chain", "run", str(file), "--json", home=home)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    assert run["id"] == stored["id"]
    again = kept.provider.calls() - before - asked
    # Stored steps are never asked again; what was answered but not yet stored is replayed by the
    # node, so only calls that were cut off are made twice.
    assert run["steps"] - asked <= again <= run["steps"] - stored["done"]


def _quiet(kept: Kept) -> bool:
    count = kept.provider.calls()
    time.sleep(0.5)
    return kept.provider.calls() == count


def test_a_finished_run_costs_nothing_again(kept: Kept, tmp_path: Path) -> None:
    home = kept.folder / "subscriber"
    file = document(tmp_path, 3, "repetition")
    first = ricochet("chain", "run", str(file), "--json", home=home)
    assert first.returncode == 0, first.stderr
    before = kept.provider.calls()
    second = ricochet("chain", "run", str(file), "--json", "--quiet", home=home)
    assert second.stderr == ""
    assert kept.provider.calls() == before
    assert json.loads(second.stdout)["output"] == json.loads(first.stdout)["output"]


def test_nodes_serve_on_after_the_session_key_was_replaced(kept: Kept, tmp_path: Path) -> None:
    home = kept.folder / "subscriber"
    phrase = str(home / "passphrase")
    done = ricochet(
        "subscription", "rotate-session", "--passphrase-file", phrase, "--json", home=home
    )
    assert done.returncode == 0, done.stderr
    file = document(tmp_path, 3, "succession")
    # Whichever answers holds a voucher of the old key: the demo's run has paid all of them.
    run = ricochet("chain", "run", str(file), "--json", home=home)
    assert run.returncode == 0, run.stderr
    told = json.loads(ricochet("subscription", "spending", "--json", home=home).stdout)
    assert told["accounted"], told["differences"]


def test_ctrl_c_pauses_and_says_how_to_go_on(kept: Kept, tmp_path: Path) -> None:
    home = kept.folder / "subscriber"
    file = document(tmp_path, 40, "interruption")
    before = kept.provider.calls()
    process = start("chain", "run", str(file), home=home)
    until(lambda: kept.provider.calls() - before >= 4, "four calls")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=COMMAND_SECONDS)
    assert process.returncode == 130, err
    status = json.loads(ricochet("chain", "status", "--json", home=home).stdout)["run"]
    assert f"ricochet chain resume {status['id']}" in err
    assert status["status"] == "paused" and 0 < status["done"] < status["steps"]
    assert out.strip() == ""


def test_settling_twice_pays_once(kept: Kept) -> None:
    home = kept.folder / "alice"
    first = json.loads(ricochet("node", "settle", "--json", home=home).stdout)
    second = json.loads(ricochet("node", "settle", "--json", home=home).stdout)
    assert first["claimed"] >= 0
    assert second == {**second, "claimed": 0, "withdrawn": 0}
    found = json.loads(ricochet("node", "funds", "--json", home=home).stdout)
    assert found["accounted"] and found["withdrawn"] > 0 and found["withdrawable"] == 0


def test_no_subscription(newcomer: Path, tmp_path: Path) -> None:
    file = document(tmp_path, 2, "poverty")
    hint = failed(
        ricochet("chain", "run", str(file), "--json", home=newcomer), 4, "no_subscription"
    )
    assert "ricochet subscribe" in hint


def test_no_peer_for_a_model(kept: Kept, tmp_path: Path) -> None:
    file = document(tmp_path, 2, "loneliness")
    arguments = ("chain", "run", str(file), "--model", "gpt-9", "--json")
    done = ricochet(*arguments, home=kept.folder / "subscriber")
    hint = failed(done, 1, "no_peer")
    assert "smollm2-135m-instruct" in hint + done.stderr


def test_unknown_chain(kept: Kept, tmp_path: Path) -> None:
    file = document(tmp_path, 2, "confusion")
    arguments = ("chain", "run", str(file), "--chain", "overwiev", "--json")
    hint = failed(ricochet(*arguments, home=kept.folder / "subscriber"), 2, "chain_unknown")
    assert "overview" in hint


def test_chain_unreachable(kept: Kept, newcomer: Path, tmp_path: Path) -> None:
    network = json.loads((newcomer / "network.json").read_text())
    # Port 9 of loopback (discard) has no listener on any machine that runs tests.
    (newcomer / "network.json").write_text(json.dumps(network | {"rpc": "http://127.0.0.1:9"}))
    file = document(tmp_path, 2, "silence")
    done = ricochet("chain", "run", str(file), "--json", home=newcomer)
    assert "network.json" in failed(done, 1, "chain_unreachable")


def test_wrong_passphrase(kept: Kept, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("guess\n")
    home = kept.folder / "subscriber"
    done = ricochet("subscribe", "--json", "--passphrase-file", str(wrong), home=home)
    failed(done, 3, "wrong_passphrase")
    assert "guess" not in done.stderr


def test_a_node_whose_port_is_taken(kept: Kept, newcomer: Path, phrase: str) -> None:
    ricochet(
        *("keys", "add", "openai-compatible", "--name", "mine", "--url", kept.provider.url),
        *("--stdin", "--passphrase-file", phrase),
        home=newcomer,
        stdin=KEYS[1] + "\n",
    )
    ricochet(
        *("node", "offer", "own-model", "--key", "mine", "--price-in", "1", "--price-out", "1"),
        *("--context", "4096"),
        home=newcomer,
    )
    status = json.loads(ricochet("node", "status", "--json", home=kept.folder / "alice").stdout)
    taken = status["addresses"][0].partition("/p2p/")[0]
    done = ricochet(
        *("node", "start", "--listen", taken, "--passphrase-file", phrase), home=newcomer
    )
    assert done.returncode == 1, done.stderr
    assert "in use" in done.stderr and "hint:" in done.stderr
    assert processes_of(newcomer) == []


def test_routes_and_peers_are_explained(kept: Kept) -> None:
    home, model = kept.folder / "subscriber", MODEL_NAME
    done = ricochet("route", "explain", model, "--max-price-in", "0.000001", "--json", home=home)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["peers"]
    assert [(row["in"], row["reason"]) for row in rows] == [(False, "price_in")] * 3
    assert all(row["calls"] > 0 and row["score"]["first_token_seconds"] > 0 for row in rows)
    shown = ricochet("peers", "show", rows[0]["peer"][-6:], "--offline", home=home)
    assert shown.returncode == 0, shown.stderr
    assert rows[0]["peer"] in shown.stdout and model in shown.stdout
    table = ricochet("route", "explain", model, "--policy", "attested", home=home)
    assert table.stdout.count("out: offered on another basis") == 3
    nobody = ricochet("peers", "show", "nobody", "--offline", "--json", home=home)
    assert failed(nobody, 2, "peer_unknown")
    wrong = ricochet("route", "explain", model, "--policy", "x", "--json", home=home)
    assert failed(wrong, 2, "bad_routing")


@pytest.mark.deep
def test_a_role_is_tried_and_tasks_are_done(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = kept.folder / "subscriber"
    offered = json.loads(ricochet("models", "list", "--available", "--json", home=home).stdout)
    assert [one["peers"] for one in offered] == [3]
    assert ricochet("models", "set", f"critic={offered[0]['model']}", home=home).returncode == 0
    tried = ricochet("models", "test", "critic", "--json", home=home)
    assert tried.returncode == 0, tried.stderr
    trial = json.loads(tried.stdout)
    assert trial["origin"] == "project" and trial["cost"] > 0 and trial["peer"]
    told = ricochet("models", "test", "critic", home=home).stdout
    assert re.search(r" tokens, \$0\.\d+$", told, re.MULTILINE), told
    assert ricochet("tasks", "add", "Judge it", "--role", "critic", home=home).returncode == 0
    ran = ricochet("tasks", "run", "--max-cost", "0.05", "--json", home=home)
    assert ran.returncode == 0, ran.stderr
    done = json.loads(ran.stdout)
    assert done["completed"] == ["1"] and 0 < done["cost"] <= 50_000
    shown = json.loads(ricochet("tasks", "show", "1", "--json", home=home).stdout)
    assert shown["model"]["name"] == offered[0]["model"] and shown["status"] == "completed"
    assert (tmp_path / shown["output"]["destination"]).read_text().strip()


def test_the_network_can_be_looked_at_and_a_peer_banned(kept: Kept) -> None:
    home = kept.folder / "subscriber"
    seen = json.loads(ricochet("network", "status", "--json", home=home).stdout)
    assert len(seen["peers"]) == 3 and seen["traffic"]["received"] > 0
    assert all(one["offers"] and one["link"] and one["latency"] < 5 for one in seen["peers"])
    peer = seen["peers"][0]["peer"]
    shown = ricochet("network", "status", home=home).stdout
    assert "3 connected" in shown and "ping" in shown
    answered = json.loads(ricochet("peers", "ping", peer[-8:], "--json", home=home).stdout)
    assert answered["peer"] == peer and len(answered["seconds"]) == 3
    banned = json.loads(ricochet("peers", "ban", peer, "--json", home=home).stdout)
    assert banned == {"peer": peer, "banned": True, "changed": True}
    try:
        left = json.loads(ricochet("network", "status", "--json", home=home).stdout)
        assert peer not in [one["peer"] for one in left["peers"]]
        listed = json.loads(ricochet("peers", "list", "--offline", "--json", home=home).stdout)
        assert [row["peer"] for row in listed if row["banned"]] == [peer]
    finally:
        assert ricochet("peers", "unban", peer, home=home).returncode == 0
    after = json.loads(ricochet("peers", "list", "--offline", "--json", home=home).stdout)
    assert not [row for row in after if row["banned"]]
    wrong = ricochet("peers", "ban", "nobody", "--json", home=home)
    assert failed(wrong, 2, "bad_peer")


def test_a_detached_run_is_watched_paused_and_resumed_by_its_id(kept: Kept, tmp_path: Path) -> None:
    home = kept.folder / "subscriber"
    file = document(tmp_path, 60, "detachment")
    started = ricochet("chain", "run", str(file), "--detach", home=home)
    assert started.returncode == 0, started.stderr
    run_id = started.stdout.strip()
    with Runs(home) as runs:
        until(lambda: len(runs.answers(run_id)) >= 4, "four answers")
        with kept.provider.slow(10.0):  # else it may be done before the command has started
            with pytest.raises(LocalFault, match="Another process"):
                runs.take_up(run_id, lambda request: request)
            paused = ricochet("chain", "pause", run_id, "--json", home=home)
        assert json.loads(paused.stdout)["status"] == "paused", paused.stderr
        stored = runs.state(run_id)
    assert 4 <= stored.done < len(stored.steps)
    file.unlink()
    resumed = ricochet("chain", "resume", run_id, "--detach", "--json", home=home)
    assert json.loads(resumed.stdout)["id"] == run_id
    beside = ricochet("chain", "run", str(document(tmp_path, 3, "company")), home=home)
    assert beside.returncode == 0, "another run in this home works beside it: " + beside.stderr
    watched = ricochet("chain", "watch", run_id, home=home)
    assert watched.returncode == 0 and "resuming overview" in watched.stderr
    assert f"run {run_id} completed" in watched.stderr
    hint = failed(ricochet("chain", "resume", run_id, "--json", home=home), 2, "run_ended")
    assert run_id in hint
    until(lambda: not [p for p in processes_of(home) if "worker" in p], "the worker to end")


@pytest.mark.deep
def test_an_editor_runs_a_chain_which_goes_on_without_it(kept: Kept, tmp_path: Path) -> None:
    """Over MCP: offers, an estimate, a run that outlives the session, progress, and its result."""
    home = kept.folder / "subscriber"
    report = document(tmp_path, 400, "an editor")
    told: list[tuple[float, float | None, str | None]] = []

    async def heard(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total, message))

    async def asking(client: Client) -> str:
        async def ask(tool: str, **arguments: Any) -> Any:
            return result_of(await client.call_tool(tool, arguments, progress_callback=heard))[0]

        offers = (await ask("models_list", available=True))["available"]
        assert [one["peers"] for one in offers] == [3]
        assert len((await ask("network_status"))["peers"]) == 3
        assert (await ask("subscription_status"))["running"] is True
        estimate = (await ask("chain_run", files=[report.name], estimate_only=True))["estimate"]
        assert estimate["calls"] > 20 and estimate["cost"]["high"] > estimate["cost"]["low"] > 0
        run: str = (await ask("chain_run", files=[report.name]))["run"]["id"]
        until_moving = await ask("monitor_chain", run=run, wait_seconds=2)
        assert until_moving["status"] in ("pending", "running") and told
        return run

    async def coming_back(client: Client) -> Any:
        while True:
            arguments = {"run": run, "wait_seconds": 50}
            called = await client.call_tool("monitor_chain", arguments, progress_callback=heard)
            if result_of(called)[0]["status"] == "completed":
                break
        result = await client.call_tool("chain_result", {"run": run})
        resource = await client.read_resource(f"ricochet://runs/{run}/result")
        return result_of(result)[0], resource.contents[0].text

    run = talk(command(home, tmp_path), asking, "auto")
    told.clear()
    result, text = talk(command(home, tmp_path), coming_back, "legacy")
    done = [one[0] for one in told]
    assert done == sorted(done) and len(set(done)) > 3
    assert told[-1][2] is not None and told[-1][2].startswith("completed, 100%")
    assert result["output"].startswith("Answer ") and result["output"] in text
    assert result["cost"] > 0 and result["run"]["status"] == "completed"
    until(lambda: not [p for p in processes_of(home) if "worker" in p], "the worker to end")


@pytest.mark.deep
def test_an_editor_has_tasks_rated_by_a_process_that_outlives_it(
    kept: Kept, tmp_path: Path
) -> None:
    home = kept.folder / "subscriber"

    async def asking(client: Client) -> str:
        await client.call_tool("add_task", {"title": "Something to rate"})
        started = result_of(await client.call_tool("analyze_complexity", {"max_cost": "0.05"}))[0]
        run: str = started["run"]["id"]
        return run

    run = talk(command(home, tmp_path), asking)
    log = home / "runs" / f"{run}.log"
    until(lambda: "no usable answer" in log.read_text(), "a double that knows no JSON to be told")
    until(lambda: not [p for p in processes_of(home) if "rating" in p], "the process to end")
    with Runs(home) as runs:
        assert len(runs.answers(run)) == 3, "asked, and asked again twice"


def test_any_openai_client_by_base_url(newcomer: Path, phrase: str, tmp_path: Path) -> None:
    """The API in a process of its own: calls, streams, a chain; killed and stopped in order."""
    new = ("serve", "keys", "new", "editor", "--budget", "1")
    key = ricochet(*new, home=newcomer).stdout.strip()
    limited = ricochet("serve", "keys", "limit", "editor", "2.50", "--per", "day", home=newcomer)
    assert "may spend $2.50 each day" in limited.stdout + limited.stderr
    missing = ricochet("serve", "keys", "limit", "nobody", "1", "--json", home=newcomer)
    assert "serve keys list" in failed(missing, 2, "no_key")
    listed = json.loads(ricochet("serve", "keys", "list", "--json", home=newcomer).stdout)
    assert (listed[0]["name"], listed[0]["spent"]) == ("editor", 0) and key not in str(listed)
    assert (listed[0]["budget"], listed[0]["per"]) == (2_500_000, "day")
    paid = ricochet("subscribe", "--plan", "5", "--passphrase-file", phrase, home=newcomer)
    assert paid.returncode == 0, paid.stderr
    server = start("serve", "--port", "0", "--json", home=newcomer)
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        second = ricochet("serve", "--port", "0", "--json", home=newcomer)
        assert failed(second, 1, "already_serving")
        with openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=60) as client:
            model = next(iter(client.models.list())).id
            hello: Any = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
            whole = client.chat.completions.create(**hello).choices[0].message.content
            stream = client.chat.completions.create(**hello, stream=True)
            assert "".join(part.choices[0].delta.content or "" for part in stream) == whole
            server.kill()
            server.communicate(timeout=20)
            server = start("serve", "--port", str(urlsplit(url).port), home=newcomer)
            assert server.stdout is not None
            assert server.stdout.readline().strip() == url
            text = document(tmp_path, 6, "a base URL").read_text()
            chain: Any = {"messages": [{"role": "user", "content": text}]}
            done = client.chat.completions.create(model="ricochet/overview", **chain)
            assert done.choices[0].message.content.startswith("Answer ")
        spending = ricochet("subscription", "spending", "--json", home=newcomer)
        assert spending.returncode == 0, spending.stderr
        total = sum(group["paid"] for group in json.loads(spending.stdout)["groups"])
        (spent,) = json.loads(ricochet("serve", "keys", "list", "--json", home=newcomer).stdout)
        assert spent["spent"] == total > 0
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=60)
        assert server.returncode == 0 and "stopping" in said and key not in said
    finally:
        server.kill()
        server.communicate(timeout=20)
