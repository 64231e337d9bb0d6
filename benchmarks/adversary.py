"""Plays attacks on the rules of money and trust: `python benchmarks/adversary.py`.

    python benchmarks/adversary.py [--attack NAME] [--actors 1000] [--seed 1] [--json | --write]

The rules are the product's (`payee`, `payer`, `usage`, the contract), the attackers are not. Each
attack runs with few actors on the contract's bytecode and on its Python model, which have to come
to the same end, then with all actors on the model. It is arithmetic: the same seed gives the same
figures. Amounts are micro-dollars, in the table dollars. Exit code 1 when a promise is broken.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from attacks import customers, operators
from attacks.chain import ROOT, Chain, OnEvm, OnModel
from attacks.outcome import Outcome

sys.path.append(str(ROOT / "tests" / "protocol"))

import trust_replay

FEW = 5
PAGE = ROOT / "docs" / "trust-model.md"
ATTACKS: dict[str, Callable[[Chain, int, Random], Outcome]] = {
    "self-dealing": customers.self_dealing,
    "over-issue": customers.over_issue,
    "one-budget": customers.one_budget,
    "credit-farming": customers.credit_farming,
    "freeloading": customers.freeloading,
    "withholding": customers.withholding,
    "replay": customers.disconnect_and_replay,
    "late-claim": customers.late_claim,
    "griefing": customers.griefing,
    "advance-taking": operators.advance_taking,
    "turning": operators.turning,
    "locking": operators.locking,
    "cheap-model": operators.cheap_model,
}
ASSUMPTIONS = [
    "Gas as in docs/gas.md at 0.01 gwei and $4,000 a coin; attackers pay batch prices.",
    "The subscription is $10; the sold model costs $1 a million tokens in and $4 out.",
    "What an attacker is served counts as gain at its full price, whether he needs it or not.",
    "A reservation that fails costs its relayer as much as one that raises.",
    "The platform is not the attacker: to it the 30 % come back, so that it self-deals for gas.",
    "The chain confirms: what a deeper reorganisation takes back is lost, and was served before.",
    "What the provider has written and the node still holds when a customer leaves is the node's "
    "cost: a step, and what the connection buffers.",
    "No canaries and no scores: nothing compares a cheap model's answers with the sold one's.",
]


def play(name: str, actors: int, seed: int) -> dict[str, Any]:
    """One attack, small on both chains and then in full; KeyError for an unknown name."""
    attack = ATTACKS[name]
    small = [attack(chain, FEW, Random(seed)) for chain in (OnEvm(), OnModel())]
    outcome = small[0] if actors <= FEW else attack(OnModel(), actors, Random(seed))
    promises = {f"few: {promise}": kept for promise, kept in small[0].promises.items()}
    promises |= {"the EVM agrees with the model": small[0] == small[1]} | outcome.promises
    document = outcome.document() | {"chain": "evm" if actors <= FEW else "model"}
    return document | {"promises": promises, "on_evm": small[0].document()}


def table(results: list[dict[str, Any]]) -> str:
    """The results as a Markdown table for people."""
    head = (
        "attack",
        "actors",
        "put in",
        "got",
        "return",
        "nodes lose",
        "their gas",
        "subscribers lose",
    )
    rows = [head, ("---", *("--:",) * (len(head) - 1))]
    for one in results:
        gain = "" if one["gain_percent"] is None else f"{one['gain_percent']:+,.1f} %"
        amounts = (one[key] for key in ("node_lost", "node_gas", "subscriber_lost"))
        paid, got = dollars(one["put_in"]), dollars(one["got"])
        rows.append(
            (one["attack"], f"{one['actors']:,}", paid, got, gain, *(map(dollars, amounts)))
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def dollars(amount: int) -> str:
    """Rounded to four decimals: a hundredth of a cent."""
    return f"${amount / 1_000_000:,.4f}" if amount else "0"


def documented(text: str) -> str:
    """The table in the text of a page."""
    start = text.index("| attack |")
    return text[start : text.index("\n\n", start)]


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--attack", action="append", choices=list(ATTACKS), metavar="NAME")
    parser.add_argument("--actors", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="everything, instead of a table")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    chosen = parser.parse_args(given)
    if chosen.actors < 2:
        parser.error("an attack needs two actors or more")
    if chosen.write and chosen.attack:
        parser.error("the page holds all attacks: leave out --attack")
    return chosen


def main(given: Sequence[str] | None = None) -> int:
    """Run as the command line says; the exit code."""
    chosen = _arguments(given)
    for scenario in trust_replay.scenarios():
        trust_replay.check(scenario)
    results = [play(name, chosen.actors, chosen.seed) for name in chosen.attack or ATTACKS]
    broken = {
        one["attack"]: names
        for one in results
        if (names := [name for name, kept in one["promises"].items() if not kept])
    }
    if chosen.json:
        document = {"seed": chosen.seed, "assumptions": ASSUMPTIONS, "attacks": results}
        print(json.dumps(document | {"broken": broken}, indent=2))
    else:
        print(table(results))
    if chosen.write:
        text = PAGE.read_text("utf-8")
        PAGE.write_text(text.replace(documented(text), table(results)), "utf-8")
    for attack, names in broken.items():
        print(f"{attack}: broken: {', '.join(names)}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
