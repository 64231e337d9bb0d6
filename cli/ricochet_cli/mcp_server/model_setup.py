"""`models_setup`: the person chooses a model for each role, in a form that the editor shows.

Two protocols ask in different ways, and in the newer one the tool runs again with the answer, and
must ask the same question to take it: so what peers offer is remembered for some minutes.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from mcp.server.mcpserver import AcceptedElicitation, Context, Elicit, ElicitationResult, Resolve
from mcp.types import CallToolResult
from pydantic import BaseModel, Field, create_model

from ricochet_cli.mcp_server.outputs import ModelsOut, OfferOut
from ricochet_cli.mcp_server.replies import clean
from ricochet_orchestrator.chain_language import ROLES
from ricochet_protocol.errors import UsageError

if TYPE_CHECKING:
    from ricochet_cli.mcp_server.model_tools import ModelTools

REMEMBERED: Final = 600.0
"""Seconds: a person takes a while to answer."""


class Choices:
    """What can be chosen, asked of the network once in a while."""

    def __init__(self, ask: Callable[[], list[OfferOut]], own: Callable[[], list[str]]) -> None:
        self._ask = ask
        self._own = own
        self._known: tuple[float, list[OfferOut], list[str]] | None = None

    def now(self) -> tuple[list[OfferOut], list[str]]:
        """Offers of peers, and the names of all models; UsageError `no_offers` for none."""
        if self._known is None or time.monotonic() - self._known[0] > REMEMBERED:
            offers = self._ask()
            names = dict.fromkeys([*(one["model"] for one in offers), *self._own()])
            if not names:
                raise UsageError(
                    "no_offers",
                    "Nobody offers a model now.",
                    "See `ricochet peers list`, or call models_setup with models.",
                )
            self._known = time.monotonic(), offers, list(names)
        return self._known[1], self._known[2]


def form(names: Sequence[str]) -> type[BaseModel]:
    """A field for each role; one that is left out stays as it is."""
    fields: dict[str, Any] = {
        role: (str | None, Field(None, title=role, json_schema_extra={"enum": list(names)}))
        for role in ROLES
    }
    made: type[BaseModel] = create_model("Models", **fields)
    return made


def chosen(answer: dict[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Models by role; UsageError for what was not on the form."""
    found = {role: str(model) for role, model in answer.items() if model is not None}
    for role, model in found.items():
        if model not in names:
            raise UsageError(
                "model_unknown",
                f"{model[:128]!r} for {role} was not among the choices.",
                f"Choices: {', '.join(names)}.",
            )
    return found


def asking(tools: "ModelTools", choices: Choices) -> Callable[..., CallToolResult]:
    """The tool, for one server."""

    def choose(ctx: Context[Any, Any], models: dict[str, str] | None) -> Any:
        if models is not None:
            return models
        offers, names = choices.now()
        lines = [tools.offer_line(one) for one in offers]
        capabilities = ctx.client_capabilities
        if capabilities is None or capabilities.elicitation is None:
            raise UsageError(
                "nobody_to_ask",
                f"This editor cannot ask the user. Choices: {', '.join(names)}.",
                'Ask in the chat, then call models_setup with models, such as {"main": "MODEL"}.',
            )
        text = "\n".join(["A model for each role; what is left empty stays as it is.", *lines])
        return Elicit(clean(text), form(names))

    def models_setup(
        answer: Annotated[ElicitationResult[BaseModel], Resolve(choose)],
        models: Annotated[
            dict[str, str] | None,
            Field(description='Models by role, such as {"main": "MODEL"}. [default: ask the user]'),
        ] = None,
    ) -> Annotated[CallToolResult, ModelsOut]:
        """Choose models for roles (main, research, fallback, analyzer, summarizer, integrator,
        critic) of this project: asks the user, in a form with what peers offer now. With `models`,
        sets those and asks nobody."""
        if not isinstance(answer, AcceptedElicitation):
            raise UsageError(
                "not_chosen", "The user chose nothing.", "Models stay as they were: show_models."
            )
        if models is None:
            models = chosen(answer.data.model_dump(), choices.now()[1])
        return tools.set_models(Path.cwd(), models)

    return models_setup
