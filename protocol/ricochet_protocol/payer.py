"""Who trusts first, seen from the subscriber: what he reserves with one node, and signs for it.

A node that has proved nothing wants to be paid before it serves (see `payee.py`), and may take an
advance and vanish. So a stranger gets little, and all strangers together get little:

    proven      after `PROVEN_ANSWERS` answers that passed validation or a canary
    unproven    a first reservation of at most $0.05, doubling with each answer that passed;
                reservations with all unproven nodes <= 20 % of the budget;
                vouchers signed for all unproven nodes <= 2 % of the budget: the most that can be
                lost to nodes that take advances;
                one call at a time
    proven      may vanish too: a node never holds more than 10 % of the budget for answers that
                were not accepted yet, lost ones included
    vouchers    never run ahead of the answers accepted and the text received by more than one step
                (`steps.py`), nor above the reservation; amounts only grow
    raises      of a reservation are worth the gas that the node pays for them
    a node's word about what is due is believed up to what was signed, and within a call up to the
                payer's own count, within the tolerance of `usage.py`

Answers that never came although they were paid for stay in `signed - accepted`: the next call with
the same node uses that up first. There is no clock, disk or network here.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from ricochet_protocol.money import Units
from ricochet_protocol.payee import MIN_RAISE

FIRST_RESERVATION: Final = MIN_RAISE
"""$0.05; DESIGN §4. Less is not worth the node's gas."""
PROVEN_ANSWERS: Final = 5
"""Fewer would make a new identity cheap; each costs its owner a real answer."""
UNPROVEN_RESERVED_PERCENT: Final = 20
"""Of the period's budget, reserved with all unproven nodes together; DESIGN §4."""
UNPROVEN_PAID_PERCENT: Final = 2
"""Of the period's budget, signed for all unproven nodes together; DESIGN §4."""
ADVANCED_PERCENT: Final = 10
"""Of the period's budget, signed for one node beyond what it was accepted for. Less would stop long
prompts that run side by side; without it a proven node that turns could take all it has reserved.
"""


class Payer(msgspec.Struct, frozen=True):
    """One node in one period, as its customer sees it.

    `reserved` was signed in reservations, `signed` in vouchers (the highest); `accepted` is what
    accepted answers cost; `answers` counts those that passed, of all periods.
    """

    reserved: Units = Units(0)
    signed: Units = Units(0)
    accepted: Units = Units(0)
    answers: int = 0

    @property
    def proven(self) -> bool:
        """Whether the node has earned more than a stranger's trust."""
        return self.answers >= PROVEN_ANSWERS

    @property
    def advanced(self) -> Units:
        """What was signed for and has not come yet; lost if the node vanishes now."""
        return Units(max(0, self.signed - self.accepted))


class Purse(msgspec.Struct, frozen=True):
    """What the period leaves: to reserve in all, to reserve with and to sign for the unproven.

    `advanceable` is what any one node may hold at a time for answers that have not come.
    """

    free: Units
    unproven_reservable: Units
    unproven_signable: Units
    advanceable: Units


class Refused(msgspec.Struct, frozen=True):
    """Why not: `most` is what could be granted; `unproven` tells a stranger from an empty purse."""

    most: Units
    unproven: bool


def purse(budget: Units, committed: Units, unlanded: Units, nodes: Iterable[Payer]) -> Purse:
    """What is left of `budget`, of which the chain has `committed` some.

    `unlanded` was signed in reservations that the chain does not show yet; `nodes` are all of this
    period.
    """
    strangers = [node for node in nodes if not node.proven]
    reserved = sum(node.reserved for node in strangers)
    signed = sum(node.signed for node in strangers)
    return Purse(
        free=Units(max(0, budget - committed - unlanded)),
        unproven_reservable=Units(max(0, budget * UNPROVEN_RESERVED_PERCENT // 100 - reserved)),
        unproven_signable=Units(max(0, budget * UNPROVEN_PAID_PERCENT // 100 - signed)),
        advanceable=Units(budget * ADVANCED_PERCENT // 100),
    )


def calls_at_once(node: Payer, slots: int) -> int:
    """How many calls the node may serve at the same time."""
    return slots if node.proven else 1


def reserve(node: Payer, needed: Units, left: Purse) -> Units | Refused:
    """The total to sign in a reservation so that `needed` is covered, with some room to spare."""
    if needed <= node.reserved:
        # Signed before; the chain has not seen it, or this would not be asked.
        return node.reserved
    if needed - node.reserved > left.free:
        return Refused(most=Units(node.reserved + left.free), unproven=False)
    ceiling = node.reserved + left.free
    if not node.proven:
        earned = FIRST_RESERVATION << node.answers
        ceiling = min(ceiling, earned, node.reserved + left.unproven_reservable)
        if needed > ceiling or ceiling - node.reserved < min(MIN_RAISE, left.free):
            return Refused(most=Units(max(ceiling, node.reserved)), unproven=True)
    generous = max(needed, node.reserved + MIN_RAISE, 2 * node.reserved)
    return Units(min(generous, ceiling))


def sign(node: Payer, cumulative: Units, left: Purse) -> Units | Refused:
    """The voucher amount that pays up to `cumulative`: never lower than one signed before."""
    if cumulative <= node.signed:
        return node.signed
    if cumulative > node.reserved:
        return Refused(most=node.reserved, unproven=False)
    if not node.proven and cumulative - node.signed > left.unproven_signable:
        return Refused(most=Units(node.signed + left.unproven_signable), unproven=True)
    if cumulative - node.accepted > left.advanceable:
        most = max(node.signed, node.accepted + left.advanceable)
        return Refused(most=Units(most), unproven=not node.proven)
    return cumulative


def believed_due(node: Payer, due: Units) -> Units:
    """What the node has to be paid before a next call, as far as its own statement is believed.

    More than was accepted means answers that were lost on the way, or calls that this side broke
    off; what was signed for them is gone, and nothing beyond it.
    """
    return Units(max(node.accepted, min(due, node.signed)))


def accept(node: Payer, cost: Units, due: Units) -> Payer:
    """The node's state after an answer that passed.

    `due` is the highest sum the node has stated: an answer paid for before adds nothing.
    """
    accepted = Units(max(node.accepted, min(Units(node.accepted + cost), due)))
    return msgspec.structs.replace(node, accepted=accepted, answers=node.answers + 1)
