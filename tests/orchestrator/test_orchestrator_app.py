import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from orchestrator_stage import Stage, numbered, play

from ricochet_orchestrator.app import Task, list_chains, run_chain, run_status
from ricochet_orchestrator.checkpoint import RunStatus, Status
from ricochet_orchestrator.document import default_document
from ricochet_orchestrator.progress import Event
from ricochet_protocol.errors import ConfigurationError, RicochetError, UsageError


def attempt(home: Path, chain: str = "overview") -> RicochetError:
    """The error of a run that cannot begin; nothing may be told before it."""
    events: list[Event] = []

    async def main() -> None:
        task = Task(default_document(), chain)
        await run_chain(home, task, events.append, asyncio.Event())

    with pytest.raises(RicochetError) as caught:
        asyncio.run(main())
    assert not events
    assert caught.value.hint
    return caught.value


def test_what_a_person_gets_wrong_is_told_before_anything_is_connected(tmp_path: Path) -> None:
    assert attempt(tmp_path, "overvieu").code == "chain_unknown"
    assert not (tmp_path / "runs.db").exists()


def test_a_home_without_a_network_or_wallet_is_told(tmp_path: Path) -> None:
    error = attempt(tmp_path)
    assert (error.code, type(error)) == ("no_network", ConfigurationError)
    (tmp_path / "network.json").write_text(
        '{"rpc": "http://127.0.0.1:1", "chain_id": 1, "contract": "0x' + "11" * 20 + '",'
        ' "token": "0x' + "22" * 20 + '"}'
    )
    assert attempt(tmp_path).code == "no_wallet"


def test_the_built_in_chains_are_listed(tmp_path: Path) -> None:
    assert [chain.name for chain in list_chains(tmp_path, tmp_path)] == [
        *("compare", "detailed-summary", "extract", "overview", "questions", "review-code"),
        "translate",
    ]


def test_a_broken_chain_file_is_named_in_the_list(tmp_path: Path) -> None:
    (tmp_path / "chains").mkdir()
    (tmp_path / "chains" / "mine.yaml").write_text("name: mine\ncolour: red\n")
    with pytest.raises(UsageError) as caught:
        list_chains(tmp_path, tmp_path)
    assert "mine.yaml" in caught.value.message and "colour" in caught.value.message


def test_status_shows_the_latest_run_and_any_by_id(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.node(0)
    first = play(stage, numbered(2))
    second = play(stage, numbered(3))
    latest = run_status(tmp_path)
    assert latest.run.id == second.run_id
    assert latest.result == second
    assert (latest.done, len(latest.steps)) == (4, 4)
    assert {step.status for step in latest.steps} == {Status.COMPLETED}
    assert run_status(tmp_path, first.run_id).result == first
    assert first.status is RunStatus.COMPLETED


def test_status_of_what_was_never_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        run_status(tmp_path)
    assert caught.value.code == "no_runs"
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"
    stage = Stage(tmp_path)
    stage.node(0)
    latest = play(stage, numbered(1)).run_id
    with pytest.raises(UsageError) as caught:
        run_status(tmp_path, "nope")
    assert caught.value.code == "run_unknown" and latest in caught.value.hint


@pytest.mark.parametrize("module", ["api_keys", "app", "chains", "document", "progress", "result"])
def test_light_modules_load_nothing_heavy(module: str) -> None:
    heavy = (
        "sqlmodel",
        "sqlalchemy",
        "web3",
        "eth_account",
        "libp2p",
        "trio",
        "litellm",
        "fastapi",
    )
    code = (
        f"import sys, ricochet_orchestrator.{module}\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_api_opens_before_the_heavy_libraries_are_loaded() -> None:
    code = (
        "import sys, ricochet_orchestrator.api.application, ricochet_orchestrator.api.server\n"
        "heavy = {'sqlmodel', 'sqlalchemy', 'web3', 'eth_account', 'libp2p', 'trio', 'litellm'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
