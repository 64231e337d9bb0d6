"""Tools that look beyond this machine: who is on the network, and what is paid."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mcp.types import CallToolResult

from ricochet_cli.mcp_server.outputs import (
    NetworkOut,
    SeenOfferOut,
    SeenPeerOut,
    SubscriptionOut,
)
from ricochet_cli.mcp_server.replies import told
from ricochet_cli.mcp_server.waiting import bounded

if TYPE_CHECKING:
    from ricochet_orchestrator.network_reports import NetworkReport, SeenPeer


class NetworkTools:
    """Bound to a home, which says which network."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def network_status(self) -> Annotated[CallToolResult, NetworkOut]:
        """Show who is on the network as seen from this machine: peers with their models, prices in
        millionths of a dollar per million tokens, free slots and ping. Takes some seconds."""
        from ricochet_cli.network_commands import report_text
        from ricochet_orchestrator.views import watch_network

        seen: list[NetworkReport] = []
        bounded(watch_network(self._home, 0, seen.append, once=True))
        report = seen[0]
        out = NetworkOut(
            known=report.known,
            connected=report.connected,
            peers=[_peer(one) for one in report.peers],
        )
        return told(report_text(report), out)

    def subscription_status(self) -> Annotated[CallToolResult, SubscriptionOut]:
        """Show the user's subscription from the contract: period, budget, what of it is committed
        and paid to nodes, and what can be refunded."""
        from ricochet_cli.subscription_commands import standing_document, standing_text
        from ricochet_settlement.deployment import load
        from ricochet_settlement.standing import standing
        from ricochet_settlement.wallet import address_of

        account = address_of(self._home / "wallet.json")
        found = bounded(standing(load(self._home), account))
        return told(standing_text(found), standing_document(found))


def _peer(one: "SeenPeer") -> SeenPeerOut:
    return SeenPeerOut(
        peer=one.peer,
        operator=one.operator,
        region=one.region,
        connected=one.link is not None,
        ping=one.latency,
        offers=[
            SeenOfferOut(
                model=offer.id,
                price_in=offer.price_in,
                price_out=offer.price_out,
                context=offer.context,
                slots=offer.slots,
                free=offer.free,
            )
            for offer in one.offers
        ],
    )
