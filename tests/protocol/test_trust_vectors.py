"""The scenarios of `tests/vectors/trust.json`, in words first, on the rules of both sides."""

import copy

import pytest
from trust_replay import Step, check, scenarios

PROMISED = {
    "stranger reserves first",
    "credit grows with confirmed claims",
    "over-issue beyond the commitment",
    "a reorganisation takes a commitment back",
    "the client vanishes in mid-answer",
    "the node vanishes with the advance",
    "the node overstates what is due",
    "the period changes",
    "a relay fails",
}


def test_no_promised_scenario_is_missing() -> None:
    assert {scenario["name"] for scenario in scenarios()} >= PROMISED


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario["name"])
def test_both_sides_do_what_the_scenario_says(scenario: Step) -> None:
    check(scenario)


@pytest.mark.parametrize("part", ["says", "then"])
def test_a_replay_notices_a_difference(part: str) -> None:
    scenario = copy.deepcopy(scenarios()[0])
    scenario["steps"][1][part] = 49_999
    with pytest.raises(AssertionError, match="step 2"):
        check(scenario)
