"""Errors as OpenAI's clients read them: status, body, and whether a retry can help."""

from typing import Final

from starlette.responses import Response

from ricochet_orchestrator.progress import printable
from ricochet_protocol.chat_answer import error_body, failure
from ricochet_protocol.errors import (
    BudgetError,
    ChainError,
    ConfigurationError,
    LocalFault,
    RemoteFault,
    RicochetError,
    UsageError,
)

_KIND: Final = "invalid_request_error"
_USAGE: Final = {
    "key_not_for_runs": 403,
    "chain_unknown": 404,
    "run_unknown": 404,
    "no_runs": 404,
    "call_open": 409,
    "idempotency_key_reused": 409,
    "run_ended": 409,
    "run_owned": 409,
}
"""Statuses of errors that are the caller's and not simply 400."""
_NO_RETRY: Final = {"x-should-retry": "false"}
"""OpenAI's clients would try a 429 or 503 again twice."""


def answer(error: RicochetError) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers for an error; the hint is part of the message."""
    words = [printable(part) for part in (error.message, error.hint) if part]
    text = " ".join(words) if words[0].endswith(".") else "; ".join(words)
    match error:
        case BudgetError(code="key_budget"):
            return 429, error_body(text, "insufficient_quota", "insufficient_quota"), _NO_RETRY
        case BudgetError():
            return 402, error_body(text, "insufficient_quota", error.code), {}
        case UsageError():
            return _USAGE.get(error.code, 400), error_body(text, _KIND, error.code), {}
        case LocalFault() if error.code in _USAGE:
            return _USAGE[error.code], error_body(text, _KIND, error.code), {}
        case LocalFault(code="too_many_runs"):
            return 429, error_body(text, "rate_limit_error", error.code), {}
        case LocalFault(code="no_peer" | "not_joined" | "run_paused") | ChainError():
            return 503, error_body(text, "api_error", error.code), {}
        case ConfigurationError():
            return 503, error_body(text, "api_error", error.code), _NO_RETRY
        case RemoteFault():
            status, body = failure(type(error)(error.code, text))
            return status, body, {}
    return 500, error_body(text, "api_error", error.code), {}


def failed(error: RicochetError) -> Response:
    """The response for an error."""
    status, body, headers = answer(error)
    return Response(body, status, headers, media_type="application/json")


def refusal(status: int, message: str, code: str, param: str = "") -> Response:
    """The response for a request that is not let in or not understood."""
    body = error_body(message, _KIND, code, param)
    return Response(body, status, media_type="application/json")
