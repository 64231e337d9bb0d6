"""What was asked for: a chain over a document, with the options that decide how it is done.

A request is stored with its run, so that any process can go on with it without the file, the chain
file or the command line. Its document is kept apart, by the hash of its text.
"""

import hashlib

import msgspec

from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.context import Context
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.routing import DEFAULTS, RoutingSettings
from ricochet_protocol.ids import Address, ModelId
from ricochet_protocol.money import Units


class Options(msgspec.Struct, frozen=True):
    """How a run is done. `model` answers the steps that name none; None: what the network offers.

    `fallback` answers a step whose model nobody offers when the run is planned; None: nobody does.
    `private_nodes` are operators whose private offers count. `allow_logging` lets the owners of
    nodes keep prompts and answers, where they want to. `parameters` has a value for each of the
    chain's, `context` is shown with each segment.
    `max_cost` is never passed, worst cases included; `max_time` is in seconds of work, all
    processes of the run together. `notify` are channels for a notice at the end.
    """

    model: ModelId | None = None
    seed: int = 0
    private_nodes: tuple[Address, ...] = ()
    allow_logging: bool = False
    parameters: dict[str, str] = {}
    context: Context = Context()
    routing: RoutingSettings = DEFAULTS
    max_cost: Units | None = None
    max_time: float | None = None
    notify: tuple[str, ...] = ()
    fallback: ModelId | None = None


class Request(msgspec.Struct, frozen=True):
    """`source` is the document's `sha256`."""

    chain: Chain
    source: str
    options: Options = Options()

    @property
    def key(self) -> str:
        """Equal for requests whose runs are one: what decides the plan is the same."""
        options = self.options
        values = sorted(options.parameters.items())
        content = (self.source, self.chain, options.model, values, options.context)
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()


def request_for(document: Document, chain: Chain, options: Options) -> Request:
    """The request for a chain over a document."""
    return Request(chain=chain, source=document.sha256, options=options)
