"""What a chain file may say: the structs its YAML or JSON is read into, with every field explained.

The published JSON Schema (`docs/chain.schema.json`) is made from these classes, so their docstrings
and descriptions are what an editor shows. Rules that a type cannot express are in `chain_check`.
Fields that were not set are left out when a chain is written.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from ricochet_protocol.ids import ModelId

SEGMENTS: Final = "segments"
PARTS: Final = "parts"
TEXT: Final = "text"
PREVIOUS: Final = "previous"
SCHEMA: Final = "schema"
RESERVED: Final = frozenset({SEGMENTS, PARTS, TEXT, PREVIOUS, SCHEMA})
"""Names with a meaning of their own; no step and no parameter has one of them."""
ROLES: Final = (
    "main",
    "research",
    "fallback",
    "analyzer",
    "summarizer",
    "integrator",
    "critic",
)
"""Roles that the model settings know; a chain may use others."""

Scalar = str | int | float | bool | None


class _Table(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Base of the small tables."""


class Parameter(_Table, frozen=True):
    """A value that a run is given with `--set` or `--set-file`."""

    description: str = ""
    default: Annotated[
        str | None, Meta(description="Taken when the run sets none; without it, it must.")
    ] = None


class Count(_Table, frozen=True):
    """Bounds of a number of answers, both included."""

    min: int | None = None
    max: int | None = None


class Condition(_Table, frozen=True):
    """Something about a step's answers: exactly one of `count`, `empty` and `equals`.

    With several answers, `empty: false` and `equals` ask for one that fits, `empty: true` for all.
    """

    step: str
    field: Annotated[
        str, Meta(description="Dotted path into JSON answers; without it, the whole answer.")
    ] = ""
    count: Count | None = None
    empty: bool | None = None
    equals: Scalar | msgspec.UnsetType = msgspec.UNSET


class Filter(_Table, frozen=True):
    """Which JSON answers of `over` are inputs: exactly one of `empty` and `equals`."""

    field: str
    empty: bool | None = None
    equals: Scalar | msgspec.UnsetType = msgspec.UNSET


class ChainStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step of a chain: `mode` says how the inputs named by `over` become calls."""

    name: str
    role: str
    mode: Annotated[
        Literal["map", "reduce", "refine", "each"],
        Meta(
            description="map: a call for each input. reduce: inputs joined, in levels where they "
            "exceed a window. refine: one input after another, each call sees the answer before. "
            "each: a call for each item of a JSON array in the answers."
        ),
    ]
    over: Annotated[
        str | tuple[str, ...],
        Meta(description="`segments`, `parts` (whole files), a step, or a list of steps."),
    ]
    prompt: Annotated[
        str,
        Meta(
            description="`{text}` once, where the inputs go; `{NAME}` for a parameter or for a "
            "step with one answer; `{schema}`; `{previous}` in a refine. `{{NAME}}` is literal."
        ),
    ]
    max_tokens: int
    group: Annotated[
        int | None, Meta(description="Inputs in one call of a reduce or refine, at most.")
    ] = None
    temperature: float = 0.0
    model: Annotated[
        ModelId | None, Meta(description="Without it, its role's, else the run's.")
    ] = None
    segment: Annotated[
        int | None,
        Meta(description="Tokens in one segment at most, where the window would allow more."),
    ] = None
    system: str = ""
    first: Annotated[
        str, Meta(description="A refine's prompt for the first call, without `{previous}`.")
    ] = ""
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    schema: Annotated[
        dict[str, Any] | None,
        Meta(description="The answer is JSON that follows this schema (docs/chains.md)."),
    ] = None
    retries: Annotated[
        int, Meta(description="How often a refused answer is asked for again, with the reason.")
    ] = 1
    budget: Annotated[
        str | None, Meta(description="Dollars, as text, that this step's calls may cost in a run.")
    ] = None
    when: Annotated[
        tuple[Condition, ...], Meta(description="All must hold, or the step makes no calls.")
    ] = ()
    only: Filter | None = None
    items: Annotated[
        str, Meta(description="Where an `each` finds its array: a dotted path; or the answer.")
    ] = ""
    per: Annotated[
        Literal["part"] | None, Meta(description="Reduce or refine each file for itself.")
    ] = None
    label: Annotated[
        Literal["segment", "part"] | None,
        Meta(description="What heads each input: its segment's `[number]`, or its file's name."),
    ] = None
    cites: Annotated[
        bool, Meta(description="`[number]` in the answer must be a segment that was shown.")
    ] = False
    quotes: Annotated[
        bool, Meta(description="The answer is lines copied from the segment, or NONE.")
    ] = False
    empty: Annotated[
        str, Meta(description="What `{text}` is when a reduce has no inputs; else no call is made.")
    ] = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """`over` as a tuple."""
        return (self.over,) if isinstance(self.over, str) else self.over

    @property
    def over_document(self) -> bool:
        """Whether the inputs come from the document, not from other steps."""
        return self.sources in ((SEGMENTS,), (PARTS,))

    @property
    def checked(self) -> bool:
        """Whether an answer can be refused."""
        return self.schema is not None or self.cites or self.quotes

    @property
    def templates(self) -> tuple[tuple[str, str], ...]:
        """The texts with placeholders, by field."""
        named = (("prompt", self.prompt), ("first", self.first), ("system", self.system))
        return tuple((field, text) for field, text in named if text)


class Chain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A chain of models over a document; steps form a graph with one end."""

    name: Annotated[
        str, Meta(description="In a folder of chains, the file's name without its ending.")
    ]
    steps: tuple[ChainStep, ...]
    description: str = ""
    parameters: dict[str, Parameter] = {}

    @property
    def last(self) -> ChainStep:
        """The step whose answers are the chain's result, once the steps are in order."""
        return self.steps[-1]

    def step(self, name: str) -> ChainStep:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a chain file, as published."""
    schema = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(Chain)))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Ricochet chain",
        **schema,
    }
