"""Tools for models by role; a person is asked where the client can ask."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Annotated

from mcp.types import CallToolResult
from pydantic import Field

from ricochet_cli.mcp_server.model_setup import Choices, asking
from ricochet_cli.mcp_server.outputs import ModelsOut, OfferOut, RoleOut
from ricochet_cli.mcp_server.replies import told
from ricochet_cli.mcp_server.waiting import bounded
from ricochet_protocol.money import Units, dollars


class ModelTools:
    """Bound to a home; the project's models are in the working folder."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def models_list(
        self,
        available: Annotated[
            bool, Field(description="Also ask the network which models peers offer now.")
        ] = False,
    ) -> Annotated[CallToolResult, ModelsOut]:
        """List the model of each role; with `available` also the models that can be chosen, with
        prices, windows, number of peers and delays."""
        roles = self._roles()
        lines = [f"{one['role']}: {one['model'] or 'what most peers offer'}" for one in roles]
        if not available:
            return told("\n".join(lines), ModelsOut(roles=roles, available=None))
        offers = self._offers()
        lines += ["", "On offer:", *(self.offer_line(one) for one in offers)]
        if not offers:
            lines.append("nothing now: see `ricochet peers list`")
        return told("\n".join(lines), ModelsOut(roles=roles, available=offers))

    def show_models(self) -> Annotated[CallToolResult, ModelsOut]:
        """Show the user which model each role has, and which file says so."""
        from ricochet_cli.console import table

        roles = self._roles()
        rows = [
            (one["role"], one["model"] or "what most peers offer", one["origin"]) for one in roles
        ]
        text = table(("role", "model", "from"), rows)
        return told(text, ModelsOut(roles=roles, available=None))

    @cached_property
    def models_setup(self) -> Callable[..., CallToolResult]:
        """The tool that asks; see `model_setup`."""
        from ricochet_cli.models_commands import own_offers

        return asking(self, Choices(self._offers, lambda: own_offers(self._home)))

    def set_models(self, project: Path, models: dict[str, str]) -> CallToolResult:
        """Give roles of the project these models; UsageError `models_bad`."""
        from ricochet_orchestrator import role_models

        with role_models.changing(role_models.project_file(project)) as held:
            held[0] = role_models.with_roles(held[0], models)
        return self.show_models()

    def _roles(self) -> list[RoleOut]:
        from ricochet_orchestrator import role_models
        from ricochet_orchestrator.chain_language import ROLES

        found = role_models.layers(self._home, Path.cwd())
        names = [*ROLES, *sorted(set(role_models.by_role(found)) - set(ROLES))]
        chosen = [role_models.choose(role, found) for role in names]
        return [RoleOut(role=one.role, model=one.model, origin=one.origin) for one in chosen]

    def _offers(self) -> list[OfferOut]:
        from ricochet_orchestrator import model_choice

        return [
            OfferOut(
                model=one.model,
                peers=one.peers,
                price_in=one.price_in,
                price_out=one.price_out,
                context=one.context,
                first_token=one.first_token,
            )
            for one in bounded(model_choice.on_network(self._home))
        ]

    @staticmethod
    def offer_line(one: OfferOut) -> str:
        """A model on offer, for people."""
        delay = "" if one["first_token"] is None else f", first token {one['first_token']:.2f} s"
        prices = f"{dollars(Units(one['price_in']))} in, {dollars(Units(one['price_out']))} out"
        return (
            f"{one['model']}: {prices} per million tokens, window {one['context']:,}, "
            f"{one['peers']} peers{delay}"
        )
