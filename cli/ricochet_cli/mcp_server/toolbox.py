"""The tools by name: what they are called in an editor, in which tier, and what they may do.

A tier holds all below it. The table is read without the protocol's library, which is slow to load.
"""

from enum import StrEnum
from typing import Final, NamedTuple


class Tier(StrEnum):
    """How many tools a server shows: each costs context in every chat."""

    CORE = "core"
    STANDARD = "standard"
    ALL = "all"


class Effect(NamedTuple):
    """What a call may do, as the protocol's annotations say it."""

    reads_only: bool
    destroys: bool
    repeatable: bool
    leaves_machine: bool


LOOKS: Final = Effect(reads_only=True, destroys=False, repeatable=True, leaves_machine=False)
LOOKS_OUT: Final = Effect(reads_only=True, destroys=False, repeatable=True, leaves_machine=True)
ADDS: Final = Effect(reads_only=False, destroys=False, repeatable=False, leaves_machine=False)
SETS: Final = Effect(reads_only=False, destroys=True, repeatable=True, leaves_machine=False)
SPENDS: Final = Effect(reads_only=False, destroys=False, repeatable=False, leaves_machine=True)


class Listed(NamedTuple):
    """One tool."""

    title: str
    tier: Tier
    effect: Effect


TOOLS: Final = {
    "ricochet_status": Listed("Ricochet: status", Tier.CORE, LOOKS),
    "chain_list": Listed("List chains", Tier.CORE, LOOKS),
    "chain_run": Listed("Run a chain over a document", Tier.CORE, SPENDS),
    "chain_status": Listed("Status of a run", Tier.CORE, LOOKS),
    "monitor_chain": Listed("Watch a run", Tier.CORE, LOOKS),
    "chain_result": Listed("Result of a run", Tier.CORE, LOOKS),
    "list_tasks": Listed("List tasks", Tier.CORE, LOOKS),
    "next_task": Listed("Next task", Tier.CORE, LOOKS),
    "set_task_status": Listed("Set the status of tasks", Tier.CORE, SETS),
    "ricochet_init": Listed("Set up Ricochet here", Tier.STANDARD, ADDS),
    "chain_create": Listed("Make a chain", Tier.STANDARD, SETS),
    "show_models": Listed("Models by role", Tier.STANDARD, LOOKS),
    "models_list": Listed("Models on the network", Tier.STANDARD, LOOKS_OUT),
    "add_task": Listed("Add a task", Tier.STANDARD, ADDS),
    "monitor_task": Listed("Watch a step or a task", Tier.STANDARD, LOOKS),
    "models_setup": Listed("Choose models", Tier.ALL, SETS),
    "analyze_complexity": Listed("Rate how complex tasks are", Tier.ALL, SPENDS),
    "network_status": Listed("Status of the network", Tier.ALL, LOOKS_OUT),
    "subscription_status": Listed("Status of the subscription", Tier.ALL, LOOKS_OUT),
}


def shown(tier: Tier) -> tuple[str, ...]:
    """The tools of a tier, in the table's order."""
    below = list(Tier)[: list(Tier).index(tier) + 1]
    return tuple(name for name, one in TOOLS.items() if one.tier in below)
