"""What the service units and the container start is a command that there is.

Each is given to the command line in an empty home: it is understood, and refused for what the home
lacks, with an exit code after which systemd does not try again.
"""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ricochet_cli.main import main
from ricochet_protocol.errors import ExitCode

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))


def value(unit: Path, name: str) -> str:
    (found,) = re.findall(rf"^{name}=(.*)$", unit.read_text("utf-8"), re.MULTILINE)
    return str(found)


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RICOCHET_HOME", str(tmp_path / "home"))


def test_there_are_units_for_both_actors() -> None:
    assert [unit.stem for unit in UNITS] == ["ricochet-node", "ricochet-serve"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_a_command_and_not_again_what_cannot_start(
    unit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "passphrase").write_text("a phrase nobody guesses\n", "utf-8")
    program, *arguments = shlex.split(value(unit, "ExecStart"))
    assert Path(program).name == "ricochet"
    given = [one.replace("${CREDENTIALS_DIRECTORY}", str(tmp_path)) for one in arguments]
    assert main(given) == ExitCode.CONFIGURATION
    assert str(int(ExitCode.CONFIGURATION)) in value(unit, "RestartPreventExitStatus").split()


def test_the_container_starts_a_command() -> None:
    text = (DEPLOY / "Containerfile").read_text("utf-8")
    (entry,) = re.findall(r"^ENTRYPOINT (.+)$", text, re.MULTILINE)
    (command,) = re.findall(r"^CMD (.+)$", text, re.MULTILINE)
    assert json.loads(entry) == ["ricochet"]
    assert main(json.loads(command)) == ExitCode.CONFIGURATION


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_no_fault_in_a_unit(unit: Path, tmp_path: Path) -> None:
    program = shlex.split(value(unit, "ExecStart"))[0]
    here = tmp_path / unit.name
    here.write_text(unit.read_text("utf-8").replace(program, "/bin/true"), "utf-8")
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(here)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (said.returncode, said.stderr) == (0, "")
