"""Which vouchers to claim now, as functions of values: no clock, disk or network.

A claim costs gas, so it waits for company: until what can be claimed reaches the minimum, and each
voucher pays for its part of the gas. Two things cut the wait short, the end of the claim window and
another delegate, because then a voucher can lose its worth.

Even so no voucher is claimed whose gas costs more than it brings: else a subscriber could hand
one-unit vouchers to many nodes and make each burn gas at the end of the period.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import msgspec

from ricochet_node.config import ClaimSettings
from ricochet_protocol.eip712 import SignedVoucher
from ricochet_protocol.ids import Address
from ricochet_protocol.money import CLAIM_WINDOW, Units, node_share
from ricochet_protocol.ports import Commitment, Subscription

_WEI: Final = 10**18
"""Wei in one coin of the chain's own currency."""


class Haste(IntEnum):
    """How little a claim may wait."""

    NONE = 0
    """Waits for the minimum and the fee share."""
    SOON = 1
    """The delegate has changed, but the voucher is within its commitment: the fee share counts."""
    NOW = 2
    """The window ends, or what exceeds the commitment may soon not be payable."""


class Claimable(msgspec.Struct, frozen=True):
    """A voucher of which the chain would pay `payable` more than the `claimed` it has paid."""

    voucher: SignedVoucher
    claimed: Units
    payable: Units
    budget: Units
    haste: Haste

    @property
    def share(self) -> Units:
        """The operator's part of `payable`."""
        return node_share(Units(self.claimed + self.payable), self.claimed)


def judge(
    voucher: SignedVoucher,
    signer: Address,
    period: Subscription,
    held: Commitment,
    now: int,
    settings: ClaimSettings,
) -> Claimable:
    """A voucher as the contract would treat it; `now` is Unix seconds, `signer` the voucher's."""
    cumulative = voucher.voucher.cumulative
    reachable = held.committed + period.budget - period.committed
    haste = Haste.NONE
    if signer not in (period.subscriber, period.delegate):
        haste = Haste.NOW if cumulative > held.committed else Haste.SOON
    if now >= period.end + CLAIM_WINDOW - settings.before_expiry:
        haste = Haste.NOW
    return Claimable(
        voucher=voucher,
        claimed=held.claimed,
        payable=Units(max(0, min(cumulative, reachable) - held.claimed)),
        budget=period.budget,
        haste=haste,
    )


def choose(found: Sequence[Claimable], settings: ClaimSettings) -> tuple[Claimable, ...]:
    """What is worth a transaction before its price is known: most urgent first, then largest."""
    payable = [one for one in found if one.payable]
    if sum(one.payable for one in payable) < max(1, settings.minimum):
        payable = [one for one in payable if one.haste]
    return tuple(sorted(payable, key=lambda one: (-one.haste, -one.payable)))


def affordable(
    batch: Sequence[Claimable], wei: int, settings: ClaimSettings
) -> tuple[Claimable, ...]:
    """Those of a batch that pay for their equal part of its gas, which costs `wei` in all."""
    cost = wei * settings.ether_price
    return tuple(
        one
        for one in batch
        if cost * 100 <= one.share * _most_percent(one, settings) * len(batch) * _WEI
    )


def _most_percent(one: Claimable, settings: ClaimSettings) -> int:
    return 100 if one.haste is Haste.NOW else settings.max_fee_percent
