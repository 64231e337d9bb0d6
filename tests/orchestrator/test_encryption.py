"""Encryption of what runs keep: nothing readable is left, and nothing is lost either way."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from orchestrator_stage import SHORT, Stage, play

from doubles.memory_keyring import MemoryKeyring, keyring_in_use
from ricochet_cli.main import main
from ricochet_orchestrator.control import Runs
from ricochet_orchestrator.document import document_from
from ricochet_orchestrator.encryption import check_passphrase, decrypt, encrypt, is_encrypted
from ricochet_orchestrator.personal_data import Kind
from ricochet_orchestrator.privacy import Privacy, Sensitivity, narrowed, sendable
from ricochet_orchestrator.request import Options
from ricochet_orchestrator.routing import RoutingSettings
from ricochet_orchestrator.store import Store
from ricochet_orchestrator.text_seal import PASSPHRASE_FILE
from ricochet_protocol.errors import ConfigurationError, LocalFault, UsageError
from ricochet_protocol.messages import Ask

PHRASE = "a phrase that nobody guesses"
SECRET = "Quetzalcoatlus"
MAIL = "ada@example.org"


def quoting(ask: Ask) -> str:
    """An answer with the last words of the prompt's text, as a model would quote them."""
    return " ".join(ask.turns[-1].content.split()[:12]) + "."


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    made = Stage(tmp_path)
    made.node(0, answer=quoting)
    return made


@pytest.fixture
def phrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "phrase"
    file.write_text(PHRASE + "\n")
    monkeypatch.setenv(PASSPHRASE_FILE, str(file))
    return file


def on_disk(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.glob("runs.db*"))


def output(home: Path) -> str:
    with Runs(home) as runs:
        return runs.state().result.output


def test_nothing_readable_is_left_and_all_comes_back(stage: Stage, phrase: Path) -> None:
    home, path = stage.home, stage.home / "runs.db"
    result = play(stage, document_from("d", f"{SECRET} flew far and high."))
    assert SECRET in result.output and SECRET.encode() in on_disk(home)
    encrypt(path, PHRASE)
    assert is_encrypted(path)
    assert SECRET.encode() not in on_disk(home)
    assert output(home) == result.output
    # What is written from now on is sealed too, and stored answers still count.
    again = play(stage, document_from("d", f"{SECRET} flew far and high."))
    assert again.output == result.output and again.calls == 0
    other = play(stage, document_from("e", f"Another {SECRET} walked."))
    assert other.calls and SECRET in other.output
    assert SECRET.encode() not in on_disk(home)
    decrypt(path)
    assert not is_encrypted(path) and SECRET.encode() in on_disk(home)
    assert output(home) == other.output


def test_without_the_passphrase_runs_are_closed_and_say_how_to_open_them(
    stage: Stage, phrase: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(stage, document_from("d", f"{SECRET} flew."))
    encrypt(stage.home / "runs.db", PHRASE)
    phrase.write_text("another\n")
    with pytest.raises(ConfigurationError) as caught:
        output(stage.home)
    assert caught.value.code == "wrong_passphrase"
    monkeypatch.delenv(PASSPHRASE_FILE)
    with pytest.raises(ConfigurationError) as caught:
        output(stage.home)
    assert caught.value.code == "store_sealed"
    assert PASSPHRASE_FILE in caught.value.hint
    with pytest.raises(ConfigurationError):
        decrypt(stage.home / "runs.db")
    assert SECRET.encode() not in on_disk(stage.home)


def test_a_new_passphrase_takes_the_place_of_the_old(stage: Stage, phrase: Path) -> None:
    path = stage.home / "runs.db"
    result = play(stage, document_from("d", f"{SECRET} flew."))
    encrypt(path, PHRASE)
    encrypt(path, "a second phrase")
    check_passphrase(path, "a second phrase")
    with pytest.raises(ConfigurationError):
        check_passphrase(path, PHRASE)
    phrase.write_text("a second phrase\n")
    assert output(stage.home) == result.output


def test_who_has_the_file_open_writes_nothing_with_the_seal_of_before(
    tmp_path: Path, phrase: Path
) -> None:
    store = Store(tmp_path / "runs.db")
    encrypt(tmp_path / "runs.db", PHRASE)
    with pytest.raises(LocalFault) as caught:
        store.keep_values({"[TERM_000000000000]": SECRET})
    assert caught.value.code == "store_resealed"
    store.close()
    assert SECRET.encode() not in on_disk(tmp_path)


def test_a_crash_while_it_is_switched_leaves_the_file_as_it_was(
    stage: Stage, phrase: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stage.home / "runs.db"
    result = play(stage, document_from("d", f"{SECRET} flew."))

    def fails(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr("ricochet_orchestrator.encryption.msgspec.msgpack.encode", fails)
    with pytest.raises(OSError, match="gone"):
        encrypt(path, PHRASE)
    assert not is_encrypted(path) and output(stage.home) == result.output


def test_a_column_that_was_swapped_is_noticed(stage: Stage, phrase: Path) -> None:
    path = stage.home / "runs.db"
    play(stage, document_from("d", f"{SECRET} flew."))
    encrypt(path, PHRASE)
    database = sqlite3.connect(path)
    database.execute("UPDATE answers SET text = (SELECT hex(request) FROM runs)")
    database.commit()
    database.close()
    with pytest.raises(ConfigurationError) as caught:
        output(stage.home)
    assert caught.value.code == "store_tampered"


def test_what_is_not_encrypted_cannot_be_decrypted(tmp_path: Path) -> None:
    for attempt in (
        lambda: decrypt(tmp_path / "runs.db"),
        lambda: check_passphrase(tmp_path / "runs.db", PHRASE),
    ):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert caught.value.code == "not_encrypted"


def test_nothing_personal_is_sent_and_the_result_has_it_again(stage: Stage) -> None:
    privacy = Privacy((Kind.EMAIL,), terms=(SECRET,))
    text = f"{MAIL} saw {SECRET} fly."
    original = document_from(f"to {MAIL}", text)
    options = Options(parameters={"question": f"Who is {MAIL}?"})
    document, options, values = sendable(stage.home, original, options, privacy)
    assert MAIL not in document.text + options.parameters["question"]
    store = Store(stage.home / "runs.db")
    store.keep_values(values)
    store.close()
    play(stage, document)
    prompts = [turn.content for node in stage.nodes for ask in node.calls for turn in ask.turns]
    assert prompts and not [text for text in prompts if MAIL in text or SECRET in text]
    assert MAIL in output(stage.home) and SECRET in output(stage.home)
    with Runs(stage.home) as runs:
        trace = runs.trace()
        assert any(MAIL in step.text for step in trace.steps)
        (origin,) = trace.origins
        assert (origin.part, origin.start, origin.end) == (f"to {MAIL}", 0, len(text))
    assert (stage.home / "redaction.key").stat().st_mode & 0o777 == 0o600


def test_without_settings_texts_are_sent_as_they_are(stage: Stage) -> None:
    document = document_from("d", MAIL)
    assert sendable(stage.home, document, Options(), Privacy()) == (document, Options(), {})
    assert not (stage.home / "redaction.key").exists()


def test_sensitivity_narrows_whom_a_run_may_ask() -> None:
    anybody = RoutingSettings()
    assert narrowed(anybody, Sensitivity.PUBLIC) == anybody
    assert narrowed(anybody, Sensitivity.OWN).policies == ("private",)
    some = RoutingSettings(policies=("licence", "own"))
    assert narrowed(some, Sensitivity.ATTESTED).policies == ("own",)
    with pytest.raises(UsageError) as caught:
        narrowed(some, Sensitivity.OWN)
    assert caught.value.code == "bad_sensitivity"


def test_a_run_that_may_ask_nobody_asks_nobody(stage: Stage) -> None:
    options = Options(routing=narrowed(RoutingSettings(), Sensitivity.OWN))
    with pytest.raises(LocalFault) as caught:
        play(stage, document_from("d", MAIL), SHORT, options=options)
    assert caught.value.code == "no_peer"
    assert stage.calls == 0


@pytest.fixture
def ring() -> Iterator[MemoryKeyring]:
    ring = MemoryKeyring()
    with keyring_in_use(ring):
        yield ring


def test_the_commands(
    stage: Stage, ring: MemoryKeyring, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = play(stage, document_from("d", f"{SECRET} flew."))
    file, at = tmp_path / "phrase", ("--home", str(stage.home))
    file.write_text(PHRASE + "\n")
    command = ("chain", "encryption")

    def said(*words: str, code: int = 0) -> dict[str, object]:
        assert main([*command, *words, *at, "--json"]) == code
        captured = capsys.readouterr()
        found: dict[str, object] = json.loads(captured.out or captured.err)
        assert PHRASE not in captured.out + captured.err
        return found

    assert said("status") == {"encrypted": False, "remembered": False}
    assert said("on", "--passphrase-file", str(file)) == {"encrypted": True}
    assert main(["chain", "result", *at]) == 3
    assert "chain encryption remember" in capsys.readouterr().err
    assert said("remember", "--passphrase-file", str(file)) == {"remembered": True}
    assert main(["chain", "result", *at]) == 0
    assert result.output in capsys.readouterr().out
    assert said("off") == {"encrypted": False}
    assert said("forget")["remembered"] is False
    assert said("off", code=2)["error"]


def test_a_command_line_that_says_something_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d.txt").write_text("text")
    run = ["chain", "run", str(tmp_path / "d.txt"), "--home", str(tmp_path)]
    for words in (["--redact", "names"], ["--sensitivity", "secret"], ["--redact-terms", "none"]):
        assert main([*run, *words]) == 2
        assert capsys.readouterr().err
