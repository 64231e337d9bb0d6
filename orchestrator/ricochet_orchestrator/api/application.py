"""Puts the routes together behind the gate, and gives every error OpenAI's shape."""

from collections.abc import Collection
from functools import cache, partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from ricochet_orchestrator.api import chat, failures, runs, views
from ricochet_orchestrator.api.gate import App, Gate
from ricochet_orchestrator.api.service import Service, service_of
from ricochet_orchestrator.api_keys import ApiKey
from ricochet_protocol.errors import RicochetError


def make_app(service: Service, hosts: Collection[str], origins: Collection[str]) -> App:
    """The application; `hosts` with ports are those it is reached at, `origins` pages let in."""
    api = describe()
    api.state.service = service

    def opened_by(secret: str) -> ApiKey | None:
        return service.keys.opened_by(secret, service.clock())

    gate = Gate(api, hosts, origins, opened_by, service.closing.is_set)
    if not origins:
        return gate
    return CORSMiddleware(
        gate,
        allow_origins=sorted(origins),
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
    )


def describe() -> FastAPI:
    """The routes alone; their OpenAPI description is committed as docs/openapi.json."""
    api = FastAPI(
        title="Ricochet",
        version="1",
        summary="The subscriber's API: OpenAI's chat completions over the network, and runs.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    api.include_router(chat.router)
    api.include_router(runs.router)
    api.add_api_route("/health", health, methods=["GET"], summary="Whether it can serve now")
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(RicochetError, _ricochet_error)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.openapi = partial(_described, api)  # type: ignore[method-assign]  # the documented way
    return api


@cache
def _described(api: FastAPI) -> dict[str, Any]:
    """The description: made when it is asked for, which costs a tenth of a second."""
    described = get_openapi(
        title=api.title, version=api.version, summary=api.summary, routes=api.routes
    )
    described["components"] = {
        "schemas": views.schemas(),
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
    }
    described["security"] = [{"key": []}]
    for operations in described["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # ours are 400, as for every bad request
    return described


async def health(request: Request) -> dict[str, Any]:
    """`starting` until the network is joined, `ok` while somebody offers a model."""
    service = service_of(request)
    switchboard = service.ready
    if service.closing.is_set():
        return {"status": "stopping"}
    if switchboard is None:
        return {"status": "starting"}
    offered = len(switchboard.offers.models())
    return {"status": "ok" if offered else "no_models", "models": offered}


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it"
    codes = {404: "not_found", 405: "method_not_allowed"}
    code = codes.get(error.status_code, "invalid_request")
    return failures.refusal(error.status_code, str(error.detail), code)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for it"
    first = error.errors()[0]
    where = str(first["loc"][-1])
    return failures.refusal(400, f"{where}: {first['msg']}", "invalid_request", where)


async def _ricochet_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RicochetError), "registered for it"
    return failures.failed(error)
