"""The form of a chain step's call, as far as step, prompt and offer alone settle it.

The same in every process and for every peer that can take the call: a node replays an answer only
to the ask that it knows.
"""

import hashlib

from ricochet_orchestrator.answer_schema import canonical
from ricochet_orchestrator.chain_language import ChainStep
from ricochet_orchestrator.plan import StepId
from ricochet_orchestrator.route import STICKY_CHARACTERS
from ricochet_protocol.advert import ModelOffer
from ricochet_protocol.conversation import AnswerFormat, Feature
from ricochet_protocol.ids import Address, RequestId


def request_id_of(
    step: StepId, subscriber: Address, conflicts: int = 0, *, logged: bool = False
) -> RequestId:
    """The request id of a step's ask: the same in every process, so that a node can replay.

    An ask that may be `logged` is another ask than one that may not.
    """
    text = f"{step}{subscriber}" + (f"#{conflicts}" if conflicts else "")
    text += "+logged" if logged else ""
    return RequestId(hashlib.sha256(text.encode()).hexdigest()[:32])


def prefix_of(prompt: str) -> str:
    """What names the beginning of a prompt that is long enough for a provider to cache."""
    if len(prompt) < STICKY_CHARACTERS:
        return ""
    return hashlib.sha256(prompt[:STICKY_CHARACTERS].encode()).hexdigest()


def needed_features(step: ChainStep) -> frozenset[Feature]:
    """What an offer must support for a chain step's calls to mean what they say.

    Not the format of the answer: that is checked here, whoever follows it or does not.
    """
    wanted: dict[Feature, bool] = {
        "top_p": step.top_p != 1.0,
        "stop": bool(step.stop),
        "seed": step.seed is not None,
    }
    return frozenset(name for name, is_used in wanted.items() if is_used)


def form_of(step: ChainStep, offer: ModelOffer) -> AnswerFormat:
    """The closest form to the step's schema that the offer can hold its model to."""
    if step.schema is not None and "json_schema" in offer.features:
        return AnswerFormat(kind="json_schema", name=step.name, schema=canonical(step.schema))
    if step.schema is not None and step.schema.get("type") == "object":
        return AnswerFormat(kind="json_object" if "json_object" in offer.features else "text")
    return AnswerFormat()
