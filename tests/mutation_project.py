"""Mutants of Ricochet.sol, each of which a suite must notice: `python tests/mutation_project.py`.

A mutant is the contract with one change: a check left out, a comparison moved by one, an event or
an assignment dropped, a sum reversed, or one of the mistakes listed here by hand. It is *killed*
when a Mocha suite fails on it, or else the fuzzer's default tier. `gas.js` stays out, because every
change costs another amount of gas. A mutant that does not compile is told apart from one that is
killed. `--line` checks one line of the contract; all of them take many minutes.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import hardhat_project
from hardhat_project import ROOT

CONTRACT = Path("contracts") / "Ricochet.sol"
SECONDS = 300
AT_ONCE = 2


@dataclass(frozen=True)
class Mutant:
    """One change to one line of the contract; `after` is empty when the line is left out."""

    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.line}: {self.before}  ->  {self.after or '(nothing)'}"


_MOVED = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_REVERSED = {"+=": "-=", "-=": "+="}
_SWAPPED = {"||": "&&", "&&": "||"}
_LEFT_OUT = re.compile(
    r"if \(.*\) (?:revert|return)\b.*;"  # a check
    r"|emit .*;"
    r"|delete .*;"
    r"|set\w+\(.*\);|_collect\(.*\);|_pause\(\);|_unpause\(\);"
    r"|[\w.]+(?:\[[\w.]+\])* [+-]?= .*;"  # an assignment to what exists
    r"|\([\w.]+, [\w.]+\) = .*;"
)
_MISTAKES = (
    ("NODE_BPS = 7_000", "NODE_BPS = 7_001"),
    ("PERIOD = 30 days", "PERIOD = 31 days"),
    ("CLAIM_WINDOW = 7 days", "CLAIM_WINDOW = 8 days"),
    ("RENEWAL_LEAD = 3 days", "RENEWAL_LEAD = 4 days"),
    ("DELEGATE_GRACE = 24 hours", "DELEGATE_GRACE = 25 hours"),
    ("PAYOUT_DELAY = 48 hours", "PAYOUT_DELAY = 47 hours"),
    ("MAX_PEER_ID_BYTES = 64", "MAX_PEER_ID_BYTES = 65"),
    ("MAX_MULTIADDRS = 8", "MAX_MULTIADDRS = 9"),
    ("MAX_MULTIADDR_BYTES = 256", "MAX_MULTIADDR_BYTES = 257"),
    ('"Reservation(address subscriber', '"Reserve(address subscriber'),
    ('uint128 cumulative)")', 'uint128 total)")'),
    ('EIP712("Ricochet", "1")', 'EIP712("Ricochet", "2")'),
    # Money to or from the wrong place, or the wrong amount of it.
    ("(uint256(cumulative) * NODE_BPS) / BPS", "(uint256(cumulative) * NODE_BPS + BPS - 1) / BPS"),
    ("_shareOf(cumulative) - _shareOf(account.claimed)", "_shareOf(paid)"),
    ("withdrawable[treasury()] += paid - nodeShare", "withdrawable[treasury()] += paid"),
    ("withdrawable[v.node] += nodeShare", "withdrawable[msg.sender] += nodeShare"),
    ("closing.budget - closing.paid", "closing.budget - closing.committed"),
    ("refundable[subscriber] += unspent", "refundable[msg.sender] += unspent"),
    ("_open(subscriber, last.fee, end)", "_open(subscriber, last.budget, end)"),
    ("_open(subscriber, last.fee, end)", "_open(subscriber, last.fee, _now())"),
    ("_open(subscriber, last.fee, end)", "_open(msg.sender, last.fee, end)"),
    ("liabilities += due", "liabilities += amount"),
    ("due = amount - used", "due = amount"),
    ("token.safeTransferFrom(subscriber", "token.safeTransferFrom(msg.sender"),
    ("token.safeTransfer(to, amount)", "token.safeTransfer(account, amount)"),
    ("token.safeTransfer(to, amount)", "token.safeTransfer(msg.sender, amount)"),
    ("payout == address(0) ? account : payout", "payout"),
    ("received != due", "received < due"),
    ("received != due", "received > due"),
    # Power that lasts too long, or not long enough.
    ("Delegation(currentPeriod(msg.sender),", "Delegation(subscriber.newest,"),
    ("_now() + DELEGATE_GRACE", "type(uint64).max"),
    ("if (!raises)", "if (!pays)"),
    ("raises = pays && ", "raises = "),
    ("signer == account || signer == subscriber.delegate", "signer == account"),
    ("signer == account || signer == subscriber.delegate", "signer == subscriber.delegate"),
    ("return (true, true)", "return (true, false)"),
    ("raises ? account.committed + free : account.committed", "account.committed + free"),
    ("raises ? account.committed + free : account.committed", "account.committed"),
    ("raises ? account.committed + free : account.committed", "v.cumulative"),
    ("msg.sender != operator && msg.sender != node.payout", "msg.sender != operator"),
    ("msg.sender != operator && msg.sender != node.payout", "msg.sender != node.payout"),
    (".permit(msg.sender, address(this), fee", ".permit(msg.sender, address(this), fee + 1"),
    ("{} catch {}", "{} catch { revert ZeroAmount(); }"),
)
"""Changes that the rules do not make; each must fit exactly one line of the contract."""


def mutants(source: str) -> Iterator[Mutant]:
    """All mutants of the contract, in the order of its lines."""
    lines = source.split("\n")
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith("//"):
            continue
        changed = dict.fromkeys((*_listed(text), *_by_rule(text)))
        yield from (Mutant(number, text, new) for new in changed)
    for before, _ in _MISTAKES:
        if sum(before in line for line in lines) != 1:
            raise RuntimeError(f"not in exactly one line of the contract any more: {before}")


def _listed(text: str) -> Iterator[str]:
    for before, after in _MISTAKES:
        if before in text:
            yield text.replace(before, after)


def _by_rule(text: str) -> Iterator[str]:
    if _LEFT_OUT.fullmatch(text):
        yield ""
    for words in (_MOVED, _REVERSED, _SWAPPED):
        for match in re.finditer(r"(?<= )(?:[<>]=?|[+-]=|\|\||&&)(?= )", text):
            if match[0] in words:
                yield text[: match.start()] + words[match[0]] + text[match.end() :]
    for modifier in (" whenNotPaused", " onlyOwner"):
        if modifier in text:
            yield text.replace(modifier, "")


def survivors(folder: Path, chosen: list[Mutant], tell: Callable[[str], None]) -> list[Mutant]:
    """The mutants that no suite notices, working in `folder`; `tell` hears each verdict."""
    left = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for mutant, killer in zip(
            chosen,
            pool.map(lambda m: _killer(folder, m), chosen),
            strict=True,
        ):
            tell(f"{killer or 'SURVIVES':15} {mutant}")
            if killer is None:
                left.append(mutant)
    return left


def _killer(folder: Path, mutant: Mutant) -> str | None:
    """Which suites notice the mutant: the verbs' in Mocha, else the fuzzer's; None for neither."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        root = Path(name)
        _plant(root, mutant)
        for suite, arguments, unread in (
            ("mocha", ("mocha", "--bail"), ("*.sol",)),
            ("solidity", ("solidity",), ()),
        ):
            shutil.copytree(
                ROOT / "tests" / "contracts",
                root / "tests" / "contracts",
                # Compiled only when the verbs' suites see nothing.
                ignore=shutil.ignore_patterns("gas.js", "halmos", *unread),
                dirs_exist_ok=True,
            )
            try:
                hardhat_project.hardhat(root, "test", *arguments, root=root, seconds=SECONDS)
            except RuntimeError as failure:
                return "does not compile" if "HHE910" in str(failure) else suite
            except subprocess.TimeoutExpired:
                return suite
    return None


def _plant(root: Path, mutant: Mutant) -> None:
    """The mutant as a project in `root`, built without the optimiser, which takes half the time."""
    for folder in ("contracts", "tests/vectors"):
        shutil.copytree(ROOT / folder, root / folder)
    shutil.copy(ROOT / "package.json", root)
    (root / "node_modules").symlink_to(ROOT / "node_modules")
    lines = (ROOT / CONTRACT).read_text("utf-8").split("\n")
    lines[mutant.line - 1] = mutant.after
    (root / CONTRACT).write_text("\n".join(lines), "utf-8")
    config = (ROOT / "hardhat.config.js").read_text("utf-8")
    for before, after in (
        ("enabled: true", "enabled: false"),
        ('hardfork: "cancun"', 'hardfork: "cancun", allowUnlimitedContractSize: true'),
    ):
        if config.count(before) != 1:
            raise RuntimeError(f"hardhat.config.js does not say {before!r} once")
        config = config.replace(before, after)
    (root / "hardhat.config.js").write_text(config, "utf-8")


def main() -> None:
    """Print each mutant's fate; exit with 1 when one survives."""
    parser = argparse.ArgumentParser(description="Change the contract and see whether tests fail.")
    parser.add_argument("--line", type=int, help="only the mutants of this line")
    line = parser.parse_args().line
    hardhat_project.install_node_modules()
    chosen = list(mutants((ROOT / CONTRACT).read_text("utf-8")))
    with tempfile.TemporaryDirectory() as folder:
        chosen = [mutant for mutant in chosen if line in (None, mutant.line)]
        left = survivors(Path(folder), chosen, lambda text: print(text, flush=True))
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    main()
