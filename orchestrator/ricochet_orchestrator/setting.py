"""What a run works with: the ports, the store, the payer, and the sources of time and chance."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ricochet_orchestrator.account import Payer
from ricochet_orchestrator.context import Context
from ricochet_orchestrator.progress import Event
from ricochet_orchestrator.routing import DEFAULTS, RoutingSettings
from ricochet_orchestrator.segment import TokenCounter
from ricochet_orchestrator.store import Store
from ricochet_protocol.ids import Address, PeerId, Period
from ricochet_protocol.ports import Peers, Settlement

if TYPE_CHECKING:
    from ricochet_orchestrator.client import NodeClient


@dataclass(frozen=True)
class SharedClients:
    """For `Suppliers` alone; `tell` outlives what any one of them works on."""

    tell: Callable[[Event], None]
    periods: "dict[Period, dict[PeerId, NodeClient]]" = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """`clock` tells Unix seconds, `tell` hears of everything that happens.

    `private_nodes` are operators whose private offers are meant for this payer. `allow_logging`
    lets the owners of nodes keep prompts and answers, where they want to. `clients` are
    those that all who work with copies of this setting share.
    """

    peers: Peers
    settlement: Settlement
    store: Store
    payer: Payer
    count: TokenCounter
    seed: int
    clock: Callable[[], float]
    tell: Callable[[Event], None]
    private_nodes: tuple[Address, ...] = ()
    routing: RoutingSettings = DEFAULTS
    allow_logging: bool = False
    context: Context = field(default_factory=Context)
    clients: SharedClients | None = None
