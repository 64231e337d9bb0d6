"""Random operation sequences against the contract on the EVM and against its independent model.

After every operation all accounts' balances, periods, commitments, delegations and registry entries
are equal on both sides, and so are the logged events or the error. `contract_model.py` says where
the model comes from; `docs/proofs.md` says how much is run when.
"""

from collections.abc import Sequence

import pytest
from contract_evm import Contract
from contract_facts import Skip
from contract_operations import draw
from contract_pair import NAMES, Pair
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st

SEEDS = st.lists(st.integers(0, 2**62), min_size=20, max_size=60, unique=True)
CLAIM_SKIPS = set(Skip) - {Skip.PERIOD_ENDED, Skip.BUDGET_EXCEEDED}
RESERVE_SKIPS = set(Skip) - {Skip.WINDOW_ENDED, Skip.NODE_UNKNOWN, Skip.NOTHING_PAYABLE}
UNREACHABLE = {
    # The constructors', of the contract and of the libraries it inherits.
    *("FeeBoundsReversed", "OwnableInvalidOwner", "StringTooLong", "InvalidShortString"),
    # Of other tokens than this one.
    *("InexactTransfer", "SafeERC20FailedOperation"),
    # Of arithmetic that goes wrong, which must not happen.
    "Panic",
}
"""Declared errors that no operation may lead to; the Hardhat suites test those of other tokens."""


def run(sequences: int, start: int = 0) -> Pair:
    """Run that many random sequences on one pair, rewound before each; the pair, for what it saw.

    A failing sequence is reported with its operations, as few as still fail.
    """
    pair = Pair()

    @seed(start)
    @settings(
        max_examples=sequences,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        phases=[Phase.generate, Phase.shrink],
        database=None,
    )
    @given(SEEDS)
    def agree(seeds: Sequence[int]) -> None:
        pair.rewind()
        for number in seeds:
            operation = draw(number)
            if number:
                note(str(operation))
            operation.run(pair)

    agree()
    return pair


@pytest.mark.slow
def test_contract_and_model_agree() -> None:
    seen = run(35).seen
    # Counted, so that operations which come to nothing are a failure.
    outcomes = {outcome for _, outcome in seen}
    assert {name for name, _ in seen} == NAMES.keys()
    assert {f"VoucherSkipped {reason:d}" for reason in CLAIM_SKIPS} <= outcomes
    assert {f"ReservationSkipped {reason:d}" for reason in RESERVE_SKIPS} <= outcomes
    assert {"Claimed", "Closed", "Withdrawn", "Refunded"} <= outcomes


@pytest.mark.deep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("start", range(1, 9))
def test_contract_and_model_agree_in_depth(start: int) -> None:
    seen = run(500, start).seen
    outcomes = {outcome for _, outcome in seen}
    assert Contract("Ricochet").errors - UNREACHABLE <= outcomes


def test_every_function_is_modelled() -> None:
    # Refused to everyone, so it is declared as one that changes nothing.
    assert Contract("Ricochet").writes | {"renounceOwnership"} == NAMES.keys()
