"""The reference of commands is what the program says, and every command teaches by an example."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer._click import Command
from typer.core import TyperGroup

from command_reference import PATH, commands, context
from ricochet_cli.examples import EXAMPLES, examples_by_command, owner_of
from ricochet_cli.main import main

ALL = dict(commands())
KNOWN = frozenset(ALL)
TAUGHT = examples_by_command(KNOWN)
GROUPS = {name: one for name, one in ALL.items() if isinstance(one, TyperGroup)}
LEAVES = {name: one for name, one in ALL.items() if name not in GROUPS}
WRITER = Path(__file__).parents[1] / "command_reference.py"


def test_the_reference_is_up_to_date() -> None:
    # In a process of its own: what a test has set of the environment would be in the help.
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RICOCHET_")}
    code = f"import sys; sys.path.insert(0, {str(WRITER.parent)!r}); import command_reference as c"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; sys.stdout.write(c.described())"],
        env=clean,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert PATH.read_text("utf-8") == done.stdout, "python tests/command_reference.py writes it"


@pytest.mark.parametrize("name", LEAVES)
def test_a_command_says_what_it_does_and_gives_an_example(name: str) -> None:
    command = LEAVES[name]
    assert command.help and len(command.help.split()) > 2
    shown = command.get_help(context(name, command))
    assert all(line in shown for line in TAUGHT[name])


@pytest.mark.parametrize("line", EXAMPLES.strip().splitlines())
def test_an_example_is_a_call_that_its_command_takes(line: str) -> None:
    name = owner_of(line, KNOWN)
    assert name is not None and name != "ricochet", "no such command"
    command = ALL[name]
    words = shlex.split(line)[len(name.split()) :]
    made = context(name, command)
    made.resilient_parsing = isinstance(command, TyperGroup)
    values, left, order = command.make_parser(made).parse_args(list(words))
    assert left == []
    required = {one.name for one in command.params if one.required}
    missing = {one for one in required if values.get(one or "") in (None, ())}
    assert not missing
    assert {one.name for one in order} <= {one.name for one in command.params}


@pytest.mark.parametrize("name", [name for name, one in GROUPS.items() if one.commands])
def test_a_mistyped_command_is_guessed_in_every_group(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    group = GROUPS[name]
    below = max((one for one in group.commands if one[-1] != one[-2]), key=len)
    assert main([*name.split()[1:], below[:-2] + below[-1] + below[-2], "--json"]) == 2
    assert f"'{below}'" in capsys.readouterr().err


@pytest.mark.parametrize("name", LEAVES)
def test_a_mistyped_option_is_guessed_in_every_command(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command: Command = LEAVES[name]
    made = context(name, command)
    option = max(
        (o for one in command.get_params(made) for o in one.opts if o.startswith("--")), key=len
    )
    assert main([*name.split()[1:], option + "x"]) == 2
    assert option in capsys.readouterr().err
