"""Why the contract passed over an entry of a batch, as `Outcome.reason` carries it.

The order is that of `enum Skip` in `contracts/interfaces/IRicochet.sol`, which says what each one
means; a test holds the two together.
"""

from enum import StrEnum


class Skip(StrEnum):
    """Stable codes; the contract's events carry the member's position."""

    NO_PERIOD = "no_period"
    PERIOD_ENDED = "period_ended"
    WINDOW_ENDED = "window_ended"
    BAD_SIGNATURE = "bad_signature"
    NOT_RAISED = "not_raised"
    BUDGET_EXCEEDED = "budget_exceeded"
    NODE_UNKNOWN = "node_unknown"
    NOTHING_PAYABLE = "nothing_payable"


SKIPS = tuple(Skip)
