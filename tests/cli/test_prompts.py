"""Secrets typed at a terminal: asked for, taken, and never shown."""

import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

from live import environment, ricochet, until

SECONDS = 20
KEY = "sk-typed-3858f62230ac3c915f300c664312c63f"
PHRASE = "a phrase that nobody guesses"


def converse(arguments: list[str], home: Path, answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Run a command on a terminal; answer each prompt once it has appeared."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ricochet_cli", *arguments],
        env=environment(home, TERM="xterm"),
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
    )
    os.close(end)
    shown, seen = "", 0
    waiting = list(answers)
    deadline = time.monotonic() + SECONDS
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(terminal, 4096)
            except OSError:  # the other end has closed
                break
            if not data:
                break
            shown += data.decode()
            if waiting and waiting[0][0] in shown[seen:]:
                # What is typed before the echo is off is thrown away, as at any password prompt.
                until(lambda: not termios.tcgetattr(terminal)[3] & termios.ECHO, "no echo")
                seen = len(shown)
                os.write(terminal, waiting.pop(0)[1].encode() + b"\n")
        code = process.wait(SECONDS)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert not waiting, shown
    return code, shown


def test_a_key_is_taken_without_being_shown(tmp_path: Path) -> None:
    code, shown = converse(
        ["keys", "add", "openai-compatible", "--url", "http://127.0.0.1:9/v1"],
        tmp_path,
        [("Key:", KEY), ("Passphrase:", PHRASE), ("confirmation:", PHRASE)],
    )
    assert code == 0, shown
    assert KEY not in shown and PHRASE not in shown
    assert f"…{KEY[-4:]}" in shown
    assert KEY not in (tmp_path / "keys.json").read_text()


def test_a_wallet_wants_its_new_passphrase_twice(tmp_path: Path) -> None:
    answers = [("Passphrase:", PHRASE), ("confirmation:", "slip"), ("Passphrase:", PHRASE)]
    code, shown = converse(["wallet", "new"], tmp_path, [*answers, ("confirmation:", PHRASE)])
    assert code == 0, shown
    assert "do not match" in shown
    assert PHRASE not in shown
    assert (tmp_path / "wallet.json").exists()


def test_without_a_terminal_it_says_what_to_give(tmp_path: Path) -> None:
    done = ricochet("wallet", "new", home=tmp_path)
    assert done.returncode == 3
    assert "--passphrase-file" in done.stderr
    assert not (tmp_path / "wallet.json").exists()


def test_a_private_key_is_typed_without_being_shown(tmp_path: Path) -> None:
    secret = "5a" * 32
    answers = [("Private key:", secret), ("Passphrase:", PHRASE), ("confirmation:", PHRASE)]
    code, shown = converse(["wallet", "import"], tmp_path, answers)
    assert code == 0, shown
    assert secret not in shown and PHRASE not in shown
    assert (tmp_path / "wallet.json").exists()
