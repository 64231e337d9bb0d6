"""Replays the scenarios of `tests/vectors/trust.json` on the rules of both sides.

A scenario is one subscriber and one node in one period. Each step is an event that one side hears
or a decision that it takes (`given` are the arguments; `says` is the answer, left out for a plain
yes), and `then` holds both sides' states afterwards, without the amounts that are 0.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from ricochet_protocol import payee, payer
from ricochet_protocol.money import Units
from ricochet_protocol.payee import Payee
from ricochet_protocol.payer import Payer

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "trust.json"
Step = dict[str, Any]


def scenarios() -> list[Step]:
    """Every scenario of the file."""
    found: list[Step] = json.loads(VECTORS.read_text("utf-8"))["scenarios"]
    return found


class Replay:
    """Both sides of one scenario, as it begins."""

    def __init__(self, scenario: Step) -> None:
        self.node = msgspec.convert(scenario["begins"]["node"], Payee)
        self.client = msgspec.convert(scenario["begins"]["client"], Payer)
        self._budget = Units(scenario["budget"])

    def take(self, step: Step) -> object:
        """Go through one step; what the deciding side says, None for an event or a plain yes."""
        side = self._node if step["side"] == "node" else self._client
        return msgspec.to_builtins(side(step["does"], step["given"]))

    def states(self) -> dict[str, dict[str, int]]:
        """Both states without what is 0 or false."""
        return {
            name: {field: value for field, value in msgspec.structs.asdict(state).items() if value}
            for name, state in (("node", self.node), ("client", self.client))
        }

    def _node(self, does: str, given: dict[str, Any]) -> object:
        decisions: dict[str, Any] = {
            "admit": payee.admit,
            "extend": payee.extend,
            "finish": payee.finish,
            "relay": payee.relay,
        }
        if does in decisions:
            return decisions[does](self.node, **given)
        self.node = payee.after(self.node, getattr(payee, does)(**given))
        return None

    def _client(self, does: str, given: dict[str, Any]) -> object:
        if does == "believed_due":
            return payer.believed_due(self.client, **given)
        if does == "accept":
            self.client = payer.accept(self.client, **given)
            return None
        left = payer.purse(self._budget, self.client.reserved, Units(0), [self.client])
        decision = {"reserve": payer.reserve, "sign": payer.sign}[does]
        said = decision(self.client, left=left, **given)
        if not isinstance(said, payer.Refused):
            field = {"reserve": "reserved", "sign": "signed"}[does]
            self.client = msgspec.structs.replace(self.client, **{field: said})
        return said


def check(scenario: Step) -> None:
    """AssertionError at the first step whose answer or states differ."""
    replay = Replay(scenario)
    for number, step in enumerate(scenario["steps"], start=1):
        where = f"{scenario['name']}, step {number}: {step['side']} {step['does']}"
        said = replay.take(step)
        assert said == step.get("says"), f"{where}: says {said}"
        assert replay.states() == step["then"], f"{where}: {replay.states()}"
