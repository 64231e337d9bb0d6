"""The table of commands: it is complete, and `--help` loads none of them."""

import subprocess
import sys

import pytest

from ricochet_cli.command_table import ENTRIES
from ricochet_cli.main import main


@pytest.mark.parametrize("name", ENTRIES)
def test_each_command_is_there_and_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"Usage: ricochet {name} " in capsys.readouterr().out


def test_the_help_shows_every_command_and_loads_none() -> None:
    code = (
        "import sys; from ricochet_cli.main import main; main(['--help'])\n"
        "print([name for name in sys.modules if name.endswith(('_commands', '_command'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.endswith("[]\n")
    shown = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert set(ENTRIES) <= shown


def test_a_command_that_is_mistyped_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chian", "list"]) == 2
    assert "Did you mean 'chain'?" in capsys.readouterr().err
