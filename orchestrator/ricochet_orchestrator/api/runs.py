"""Runs over HTTP: begin one, see it, steer it, and follow its events.

A run is begun at once and worked on by this server; everything else is what `control` sees and
does in the store, whichever process works on the run. `control` waits in blocking calls, so it is
asked in threads. A key that is for named models only has no business here.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from ricochet_orchestrator.api import failures, views
from ricochet_orchestrator.api.service import Service, key_of, service_of
from ricochet_orchestrator.api.streams import EventStream, body_of, kept_alive
from ricochet_orchestrator.call_record import allowance_of
from ricochet_orchestrator.checkpoint import ENDED, RunRecord, RunStatus
from ricochet_orchestrator.document import Document, document_of
from ricochet_orchestrator.event_log import Follower, Logged
from ricochet_orchestrator.notifying import check_channels
from ricochet_orchestrator.reading import part_from_bytes
from ricochet_orchestrator.report_page import as_html
from ricochet_orchestrator.reports import as_markdown
from ricochet_orchestrator.request import Options
from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import ModelId
from ricochet_protocol.money import Units

if TYPE_CHECKING:
    from ricochet_orchestrator.control import Runs

MAX_DOCUMENT: Final = 16 * 1024 * 1024
"""Bytes of a request with a document: about four million tokens."""
FOLLOW: Final = 0.2
"""Seconds between looks into an event log."""
_NO_SCRIPTS: Final = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
"""For a page with text of peers in it, which escapes it besides."""
_STOPPED: Final = ENDED | {RunStatus.PAUSED, RunStatus.PARTIAL}
_decode = msgspec.json.Decoder(views.RunAsked).decode
T = TypeVar("T")


async def _unrestricted(request: Request) -> None:
    key = key_of(request)
    if key.models:
        raise UsageError(
            "key_not_for_runs",
            f"The API key {key.name!r} is for {', '.join(key.models)} only.",
            "Use a key that was made without --model.",
        )


router = APIRouter(prefix="/api/runs", tags=["Runs"], dependencies=[Depends(_unrestricted)])


def _returns(kind: type, status: int = 200, many: bool = False) -> dict[int | str, dict[str, Any]]:
    reference: dict[str, Any] = {"$ref": f"#/components/schemas/{kind.__name__}"}
    schema = {"type": "array", "items": reference} if many else reference
    content = {"application/json": {"schema": schema}}
    failure = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        status: {"description": "Success", "content": content},
        "4XX": {"description": "Refused", "content": failure},
        "5XX": {"description": "Failed", "content": failure},
    }


_ASKED: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/RunAsked"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.post("", responses=_returns(views.RunView, 202), status_code=202, openapi_extra=_ASKED)
async def begin(
    request: Request,
    chain: str = "overview",
    name: Annotated[str, Query(max_length=200)] = "document",
    model: str | None = None,
) -> Response:
    """Begin a run. As JSON, or with the file itself as body and the rest in the query."""
    body = await body_of(request, MAX_DOCUMENT)
    if body is None:
        text = f"a request has at most {MAX_DOCUMENT:,} bytes"
        return failures.refusal(413, text, "request_too_large")
    service = service_of(request)
    if request.headers.get("Content-Type", "").split(";")[0].strip() == "application/json":
        try:
            asked = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return failures.refusal(400, str(error), "invalid_request")
        data = asked.document.encode("utf-8", "surrogatepass")
    else:
        asked, data = views.RunAsked("", chain, name, {}, model), body
    document = await asyncio.to_thread(read, asked.name, data)
    workshop = await service.workshop()
    record = workshop.enter(document, asked.chain, _options(asked))
    workshop.start(record.id, allowance_of(key_of(request)))
    location = {"Location": f"/api/runs/{record.id}"}
    return _json(views.run_view(record), 202, location)


@router.get("", responses=_returns(views.RunView, many=True))
async def latest(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 20) -> Response:
    """The latest runs, latest first."""
    found = await _control(request, lambda runs: runs.latest(limit))
    return _json([views.run_view(run) for run in found])


@router.get("/{run}", responses=_returns(views.RunDetail))
async def show(request: Request, run: str) -> Response:
    """How a run stands."""
    return _json(views.run_detail(await _control(request, lambda runs: runs.state(run))))


@router.get("/{run}/steps", responses=_returns(views.StepView, many=True))
async def steps(request: Request, run: str) -> Response:
    """Its steps, in order of dependency."""
    state = await _control(request, lambda runs: runs.state(run))
    return _json([views.step_view(step) for step in state.steps])


@router.get("/{run}/checkpoints", responses=_returns(views.CheckpointView, many=True))
async def checkpoints(request: Request, run: str) -> Response:
    """The answers that are stored of it."""
    found = await _control(request, lambda runs: runs.answers(runs.record(run).id))
    return _json([views.checkpoint_view(answer) for answer in found.values()])


@router.get("/{run}/result", responses=_returns(views.ResultView))
async def result(
    request: Request, run: str, format: Literal["json", "text", "markdown", "html"] = "json"
) -> Response:
    """What it has to show; as Markdown or a page with where each answer comes from."""
    if format in ("json", "text"):
        state = await _control(request, lambda runs: runs.state(run))
        if format == "text":
            return Response(state.result.output, media_type="text/plain")
        return _json(views.result_view(state.result))
    trace = await _control(request, lambda runs: runs.trace(run))
    if format == "markdown":
        return Response(as_markdown(trace), media_type="text/markdown")
    return Response(as_html(trace), headers=_NO_SCRIPTS, media_type="text/html")


@router.post("/{run}/pause", responses=_returns(views.RunView))
async def pause(request: Request, run: str) -> Response:
    """Stop it for now."""
    return _json(views.run_view(await _control(request, lambda runs: runs.pause(run))))


@router.post("/{run}/cancel", responses=_returns(views.RunView))
async def cancel(request: Request, run: str) -> Response:
    """End it for good; its answers stay."""
    return _json(views.run_view(await _control(request, lambda runs: runs.cancel(run))))


@router.post("/{run}/resume", responses=_returns(views.RunView, 202), status_code=202)
async def resume(request: Request, run: str) -> Response:
    """Go on with it."""
    return await _go_on(request, run)


@router.post("/{run}/retry", responses=_returns(views.RunView, 202), status_code=202)
async def retry(request: Request, run: str) -> Response:
    """Go on with it, and try again what was given up."""
    return await _go_on(request, run)


@router.get("/{run}/events", responses={200: {"content": {"text/event-stream": {}}}})
async def events(request: Request, run: str) -> Response:
    """What happens, as server-sent events, until nobody works on it; `Last-Event-ID` goes on."""
    last = request.headers.get("Last-Event-ID", "0")
    if not (last.isascii() and last.isdigit() and len(last) < 16):
        raise UsageError("invalid_request", "Last-Event-ID is the id of an event.")
    record, path = await _control(
        request, lambda runs: (runs.record(run), runs.events(runs.record(run).id))
    )
    following = _follow(request, record, path, int(last))
    return EventStream(kept_alive(following))


async def _go_on(request: Request, run: str) -> Response:
    record = await _control(request, lambda runs: runs.take_up(run, lambda asked: asked))
    workshop = await service_of(request).workshop()
    workshop.start(record.id, allowance_of(key_of(request)))
    return _json(views.run_view(record), 202)


async def _follow(
    request: Request, record: RunRecord, path: Path, after: int
) -> AsyncGenerator[bytes, None]:
    service, follower = service_of(request), Follower(path, after)
    while True:
        # In this order: what was written before the run was found stopped is still read.
        standing = await _control(request, lambda runs: runs.record(record.id))
        for logged in follower.new():
            yield _event(logged)
        if standing.status in _STOPPED or service.closing.is_set():
            yield b"event: end\ndata: " + msgspec.json.encode(views.run_view(standing)) + b"\n\n"
            return
        await asyncio.sleep(FOLLOW)


def _event(logged: Logged) -> bytes:
    happened = msgspec.json.encode({"at": logged.at, "event": logged.event})
    return b"id: %d\ndata: %b\n\n" % (logged.seq, happened)


def read(name: str, data: bytes) -> Document:
    """A document as it was sent; UsageError unless it can be read."""
    return document_of(name, (part_from_bytes(name, data),))


def _options(asked: views.RunAsked) -> Options:
    if asked.max_cost is not None and asked.max_cost <= 0:
        raise UsageError("invalid_request", "max_cost is more than nothing.")
    if asked.max_time is not None and asked.max_time <= 0:
        raise UsageError("invalid_request", "max_time is more than nothing.")
    return Options(
        model=None if asked.model is None else ModelId(asked.model),
        parameters=asked.parameters,
        max_cost=None if asked.max_cost is None else Units(asked.max_cost),
        max_time=asked.max_time,
        notify=check_channels(asked.notify),
    )


async def _control(request: Request, act: "Callable[[Runs], T]") -> T:
    service: Service = service_of(request)

    def acted() -> T:
        from ricochet_orchestrator.control import Runs

        with Runs(service.home) as runs:
            return act(runs)

    return await asyncio.to_thread(acted)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, "application/json")
