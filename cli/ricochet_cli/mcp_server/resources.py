"""Runs as resources that an editor can show or put into a chat: `ricochet://runs/…`.

| address | content |
|---|---|
| `ricochet://runs` | the latest runs |
| `ricochet://runs/RUN` | how the run stands |
| `ricochet://runs/RUN/result` | its result with what each part rests on, as Markdown |
| `ricochet://runs/RUN/checkpoints` | its stored answers, without their texts |
| `ricochet://runs/RUN/checkpoints/STEP` | the text of one; the start of a step's id will do |
"""

import json
from typing import Any, Final
from urllib.parse import unquote

from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.types import Resource, ResourceTemplate

from ricochet_cli.mcp_server.open_runs import OpenRuns
from ricochet_cli.mcp_server.replies import clean
from ricochet_cli.mcp_server.run_views import run_out, status_out
from ricochet_protocol.errors import RicochetError, UsageError

ROOT: Final = "ricochet://runs"
LATEST: Final = 20
JSON, MARKDOWN, TEXT = "application/json", "text/markdown", "text/plain"
TEMPLATES: Final = (
    ResourceTemplate(
        uri_template=f"{ROOT}/{{run}}",
        name="run",
        title="A run",
        description="How the run stands: steps with their calls, tokens, cost.",
        mime_type=JSON,
    ),
    ResourceTemplate(
        uri_template=f"{ROOT}/{{run}}/result",
        name="result",
        title="The result of a run",
        description="Its text, and where in the document each answer comes from.",
        mime_type=MARKDOWN,
    ),
    ResourceTemplate(
        uri_template=f"{ROOT}/{{run}}/checkpoints",
        name="checkpoints",
        title="The checkpoints of a run",
        description="The answers that are stored of it, without their texts.",
        mime_type=JSON,
    ),
    ResourceTemplate(
        uri_template=f"{ROOT}/{{run}}/checkpoints/{{step}}",
        name="checkpoint",
        title="A checkpoint of a run",
        description="The text of one stored answer.",
        mime_type=TEXT,
    ),
)


def listed(held: OpenRuns) -> list[Resource]:
    """The list of runs, and the results of the latest."""
    found = [
        Resource(
            uri=ROOT,
            name="runs",
            title="Runs",
            description="The latest runs of chains.",
            mime_type=JSON,
        )
    ]
    if not held.exist:
        return found
    with held.look() as runs:
        for one in runs.latest(LATEST):
            title = clean(f"{one.chain} over {one.document}: {one.status.value}")
            uri = f"{ROOT}/{one.id}/result"
            found.append(Resource(uri=uri, name=one.id, title=title, mime_type=MARKDOWN))
    return found


def read(held: OpenRuns, uri: str) -> tuple[str, str]:
    """A resource's text and media type; ResourceNotFoundError, ResourceError."""
    try:
        text, media = _read(held, uri)
    except UsageError as error:
        raise ResourceNotFoundError(clean(f"{error.message} {error.hint}")) from None
    except RicochetError as error:
        raise ResourceError(clean(f"{error.code}: {error.message} {error.hint}")) from None
    return clean(text), media


def _read(held: OpenRuns, uri: str) -> tuple[str, str]:
    match [unquote(part) for part in uri.removeprefix(ROOT).split("/")]:
        case _ if not uri.startswith(ROOT):
            raise _unknown(uri)
        case [""]:
            if not held.exist:
                return "[]", JSON
            with held.look() as runs:
                return _json([run_out(one) for one in runs.latest(LATEST)]), JSON
        case ["", run]:
            with held.look() as runs:
                return _json(status_out(runs.state(run))), JSON
        case ["", run, "result"]:
            from ricochet_orchestrator.reports import as_markdown

            with held.look() as runs:
                return as_markdown(runs.trace(run)), MARKDOWN
        case ["", run, "checkpoints"]:
            found = _checkpoints(held, run, "")
            for one in found:
                del one["text"]
            return _json(found), JSON
        case ["", run, "checkpoints", step]:
            found = _checkpoints(held, run, step.lower())
            if len(found) != 1 or not step:
                raise UsageError(
                    "step_unknown",
                    f"{len(found)} stored answers of run {run} begin with {step[:64]!r}.",
                    f"{ROOT}/{run}/checkpoints lists them.",
                )
            return found[0]["text"], TEXT
    raise _unknown(uri)


def _checkpoints(held: OpenRuns, run: str, start: str) -> list[dict[str, Any]]:
    with held.look() as runs:
        trace = runs.trace(run)
    return [
        {
            "step": step.id,
            "name": step.name,
            "role": step.role,
            "model": step.model,
            "segments": [number + 1 for number in step.rests_on],
            "tokens_in": step.tokens_in,
            "tokens_out": step.tokens_out,
            "cost": step.cost,
            "text": step.text,
        }
        for step in trace.steps
        if step.peer is not None and step.id.startswith(start)
    ]


def _unknown(uri: str) -> UsageError:
    known = ", ".join([ROOT, *(one.uri_template for one in TEMPLATES)])
    return UsageError("resource_unknown", f"There is no resource {uri[:200]!r}.", f"Known: {known}")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)
