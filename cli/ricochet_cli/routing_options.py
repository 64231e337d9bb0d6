"""The options that say how calls are routed, the same for every command that makes or plans calls.

A command takes them one by one, because that is how its `--help` is made, and `flags_of` takes them
together. What they leave unsaid, `routing.yaml` says, or the defaults.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ricochet_orchestrator.routing import RoutingFlags

_PANEL = "Routing"


def _option(name: str, text: str, metavar: str | None = None) -> Any:
    return typer.Option(name, help=text, metavar=metavar, rich_help_panel=_PANEL)


Strategy = Annotated[
    str | None,
    _option(
        "--routing",
        "How a peer is chosen: balanced (cost and time, the default), cheapest, fastest or "
        "round-robin.",
        "STRATEGY",
    ),
]
MaxPriceIn = Annotated[
    str | None,
    _option("--max-price-in", "Most dollars for a million tokens of prompt.", "DOLLARS"),
]
MaxPriceOut = Annotated[str | None, _option("--max-price-out", "The same for answers.", "DOLLARS")]
MaxLatency = Annotated[
    float | None,
    _option("--max-latency", "Leave out peers whose first token is known to come later.", "SECS"),
]
Regions = Annotated[
    list[str] | None,
    _option("--region", "Only peers that say they are in this region; may be repeated.", "REGION"),
]
Allow = Annotated[
    list[str] | None,
    _option("--allow-peer", "Only this peer or operator; may be repeated.", "PEER"),
]
Deny = Annotated[
    list[str] | None,
    _option("--deny-peer", "Not this peer or operator; may be repeated.", "PEER"),
]
Policies = Annotated[
    list[str] | None,
    _option(
        "--policy",
        "Only offers on this basis: own (the owner's machine), attested, licence or private; may "
        "be repeated.",
        "BASIS",
    ),
]
Hedge = Annotated[
    float | None,
    _option(
        "--hedge",
        "Share of the expected cost for second calls where a first token is late; 0: none. "
        "[default: 0.05]",
        "SHARE",
    ),
]
Redundancy = Annotated[
    float | None,
    _option(
        "--redundancy",
        "Share of steps that a second peer answers too, for comparison; costs as much. "
        "[default: 0]",
        "SHARE",
    ),
]
Canaries = Annotated[
    str | None,
    _option(
        "--canaries",
        "What a run may spend on calls whose answer is known, to find who cheats. [default: 0]",
        "DOLLARS",
    ),
]
Seed = Annotated[
    int, typer.Option(help="Equal seeds and observations give equal choices of peers.")
]


def flags_of(
    *,
    strategy: str | None = None,
    max_price_in: str | None = None,
    max_price_out: str | None = None,
    max_latency: float | None = None,
    regions: list[str] | None = None,
    allow: list[str] | None = None,
    deny: list[str] | None = None,
    policies: list[str] | None = None,
    hedge: float | None = None,
    redundancy: float | None = None,
    canaries: str | None = None,
) -> "RoutingFlags":
    """What the options say; they are checked where the settings are made."""
    from ricochet_orchestrator.routing import RoutingFlags

    said: dict[str, Any] = {
        "strategy": strategy,
        "max_price_in": max_price_in,
        "max_price_out": max_price_out,
        "max_latency": max_latency,
        "hedge": hedge,
        "redundancy": redundancy,
        "canaries": canaries,
    }
    lists = {"regions": regions, "allow": allow, "deny": deny, "policies": policies}
    said |= {name: tuple(one) if one else None for name, one in lists.items()}
    return RoutingFlags(**said)
