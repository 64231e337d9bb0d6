"""The fuzz targets hold on what they begin with, and the fuzzer finds what it should."""

import random
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from fuzz.__main__ import fuzz, main  # noqa: E402 - fuzz is not installed
from fuzz.targets import TARGETS  # noqa: E402
from planted_parser import take  # noqa: E402

MUTANTS = 60
guided = pytest.mark.skipif(find_spec("atheris") is None, reason="needs the extra `fuzz` (Linux)")


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                changed[at:at] = chance.randbytes(chance.randint(1, 8))
            case 1:
                del changed[at : at + chance.randint(1, 8)]
            case 2:
                changed[at : at + 1] = chance.randbytes(1)
            case 3:
                changed[at:at] = changed[: chance.randint(0, 40)]
    return bytes(changed)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_its_seeds_and_what_is_near_them(name: str) -> None:
    chance = random.Random(name)
    seeds = list(TARGETS[name].seeds())
    assert seeds
    for one in (b"", *seeds):
        TARGETS[name].take(one)
    for _ in range(MUTANTS):
        TARGETS[name].take(mutated(chance.choice(seeds), chance))


@guided
@pytest.mark.deep
@pytest.mark.parametrize("name", TARGETS)
def test_coverage_leads_a_seeded_run_further_and_it_finds_nothing(
    name: str, tmp_path: Path
) -> None:
    found = fuzz(
        name,
        seeds=list(TARGETS[name].seeds()),
        corpus=tmp_path / "corpus",
        findings=tmp_path / "findings",
        limits=["-seed=1", "-runs=4000"],
    )
    assert not found.finding
    assert found.runs >= 4000 and found.after > found.before > 0


@guided
@pytest.mark.slow
def test_it_finds_a_bug_that_chance_does_not_and_the_finding_can_be_replayed(
    tmp_path: Path,
) -> None:
    found = fuzz(
        "tests.network.planted_parser:take",
        seeds=[bytes(8)],
        corpus=tmp_path / "corpus",
        findings=tmp_path / "findings",
        limits=["-seed=1", "-runs=3000000", "-max_total_time=60"],
    )
    assert "the planted bug" in found.finding
    (crash,) = (tmp_path / "findings").iterdir()
    with pytest.raises(AssertionError, match="the planted bug"):
        take(crash.read_bytes())


@guided
@pytest.mark.slow
def test_the_command_tells_what_came_of_it_and_keeps_the_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["framing", "--runs", "500", "--seed", "1", "--corpus", str(tmp_path)]) == 0
    assert "framing: 500 inputs, coverage " in capsys.readouterr().out
    assert len(list((tmp_path / "framing").iterdir())) >= len(list(TARGETS["framing"].seeds()))


def test_a_file_is_replayed_without_the_fuzzer(tmp_path: Path) -> None:
    said = tmp_path / "said"
    said.write_bytes(b"anything")
    assert main(["hop", "--replay", str(said)]) == 0


@pytest.mark.parametrize("given", [["no-such"], ["hop", "stop", "--replay", "x"]])
def test_a_wrong_command_line_is_refused(given: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(given)
