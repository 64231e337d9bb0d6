"""A chain called as a model: the user's messages are the document, its result is the answer.

The run is found by content, so a client that lost its connection sends the same request again and
goes on. Turns that are not the user's are not read, and neither is what a chain decides for itself:
a request that sets it is refused.
"""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
from fastapi import Request, Response

from ricochet_orchestrator.api.runs import read
from ricochet_orchestrator.api.service import Service, key_of
from ricochet_orchestrator.api.streams import EventStream, kept_alive, while_connected
from ricochet_orchestrator.call_record import Allowance, allowance_of
from ricochet_orchestrator.chains import AS_MODEL, available, folders
from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_orchestrator.request import Options
from ricochet_orchestrator.result import RunResult
from ricochet_protocol import chat_answer
from ricochet_protocol.chat_answer import Head, Usage
from ricochet_protocol.chat_request import BadRequest, ChatRequest
from ricochet_protocol.errors import LocalFault, RicochetError
from ricochet_protocol.messages import Chunk


def is_chain(model: str) -> bool:
    """Whether a model's name stands for a chain."""
    return model.startswith(AS_MODEL)


def names(service: Service) -> list[str]:
    """Every chain that can be run, as a model."""
    return [AS_MODEL + name for name in available(folders(service.home, service.working))]


async def answer(request: Request, service: Service, wanted: ChatRequest, now: float) -> Response:
    """The chain's result as a completion; BadRequest, Left or any RicochetError."""
    _check(wanted)
    text = "\n\n".join(turn.content for turn in wanted.turns if turn.role == "user")
    document = await asyncio.to_thread(read, "messages", text.encode("utf-8", "surrogatepass"))
    workshop = await service.workshop()
    record = workshop.enter(document, wanted.model.removeprefix(AS_MODEL), Options())
    head = Head(id=f"chatcmpl-{record.id}", created=int(now), model=wanted.model)
    allowance = allowance_of(key_of(request))
    if wanted.stream:
        following = _events(service, head, wanted, record.id, allowance)
        return EventStream(kept_alive(following))
    result = await while_connected(request.receive, _finished(service, record.id, allowance))
    usage = Usage(result.tokens_in, result.tokens_out)
    body = chat_answer.completion(head, result.output, (), "stop", usage)
    return Response(body, media_type="application/json")


async def _finished(service: Service, run: str, allowance: Allowance) -> RunResult:
    """The completed run; LocalFault when it stopped before."""
    workshop = await service.workshop()
    result = await workshop.finished(run, allowance)
    if result.status is not RunStatus.COMPLETED:
        raise LocalFault(
            "run_" + result.status.value,
            f"Run {run} is {result.status.value}.",
            "Finished steps are kept: send the same request again to go on.",
        )
    return result


async def _events(
    service: Service, head: Head, wanted: ChatRequest, run: str, allowance: Allowance
) -> AsyncGenerator[bytes, None]:
    yield chat_answer.first_event(head)
    yield f": run {run}\n\n".encode()
    try:
        result = await _finished(service, run, allowance)
    except RicochetError as error:
        yield chat_answer.failure_event(error)
        return
    usage = Usage(result.tokens_in, result.tokens_out) if wanted.include_usage else None
    yield chat_answer.piece_event(head, Chunk(result.output))
    yield chat_answer.last_events(head, "stop", usage)


def _check(wanted: ChatRequest) -> None:
    """BadRequest for what a chain decides for itself."""
    plain = ChatRequest(model=wanted.model, turns=wanted.turns)
    shown = msgspec.structs.replace(wanted, stream=False, include_usage=False)
    for name in ChatRequest.__struct_fields__:
        if getattr(shown, name) != getattr(plain, name):
            raise BadRequest(f"{name} has no meaning for a chain: its steps say it", name)
    if not any(turn.role == "user" for turn in wanted.turns):
        raise BadRequest("a chain reads the user's messages, and there is none", "messages")
