"""Why a provider's call failed: who is to blame, whether a retry helps, and when.

Whoever chooses keys reads `blame`, `retryable` and `retry_after`; peers read only the code,
message, hint and wait of a RemoteFault. None of these ever holds the provider's own words, which
may quote the prompt or name the owner's account. What each reason means is one row of `_ROWS`.

How providers say what is wrong differs more in words than in status: OpenAI tells an empty account
from a rate limit only by `insufficient_quota`, Anthropic by a 400 about the credit balance, and
Google calls a wrong key a bad request. Sources: the error pages of their API references.
"""

import re
from enum import StrEnum
from typing import Any, Final

import msgspec

from ricochet_protocol.errors import RemoteCode, RemoteFault

MAX_ERROR: Final = 16 * 1024
"""Bytes of an error's body that are looked at."""
SOON: Final = 60
"""Seconds a peer may wait for a busy node; beyond them, another serves him better."""


class Blame(StrEnum):
    """What would have to be another one for the call to succeed."""

    KEY = "key"
    MODEL = "model"
    PROVIDER = "provider"
    ASK = "ask"


class Reason(StrEnum):
    """What happened."""

    KEY_REFUSED = "key_refused"
    QUOTA = "quota"
    RATE = "rate"
    LIMIT = "limit"
    MODEL_UNKNOWN = "model_unknown"
    OVERLOADED = "overloaded"
    FAILED = "failed"
    BROKEN = "broken"
    SILENT = "silent"
    INTERRUPTED = "interrupted"
    TOO_LONG = "too_long"
    REFUSED = "refused"
    FILTERED = "filtered"


class _Row(msgspec.Struct, frozen=True):
    blame: Blame
    retryable: bool
    code: str
    message: str
    hint: str = ""


_ELSEWHERE: Final = "use another node"
_LATER: Final = "try again later, or use another node"
_ROWS: Final = {
    Reason.KEY_REFUSED: _Row(
        Blame.KEY,
        False,
        RemoteCode.UPSTREAM_AUTH,
        "the node's provider refuses its key",
        _ELSEWHERE,
    ),
    # An empty account fills only when its owner pays: no retry, unlike a rate.
    Reason.QUOTA: _Row(
        Blame.KEY, False, RemoteCode.UPSTREAM, "the node's key is used up", _ELSEWHERE
    ),
    Reason.RATE: _Row(
        Blame.KEY, True, RemoteCode.BUSY, "the node's provider limits its rate", _LATER
    ),
    Reason.LIMIT: _Row(
        Blame.KEY, True, RemoteCode.BUSY, "the node's owner limits this key", _LATER
    ),
    Reason.MODEL_UNKNOWN: _Row(
        Blame.MODEL,
        False,
        RemoteCode.NO_MODEL,
        "the node's provider does not serve this model",
        _ELSEWHERE,
    ),
    Reason.OVERLOADED: _Row(
        Blame.PROVIDER, True, RemoteCode.BUSY, "the node's provider is overloaded", _LATER
    ),
    Reason.FAILED: _Row(Blame.PROVIDER, True, RemoteCode.UPSTREAM, "the provider failed", _LATER),
    Reason.BROKEN: _Row(Blame.PROVIDER, True, RemoteCode.UPSTREAM, "the provider sent", _LATER),
    Reason.SILENT: _Row(
        Blame.PROVIDER, True, RemoteCode.TIMEOUT, "the provider went silent", _LATER
    ),
    Reason.INTERRUPTED: _Row(
        Blame.PROVIDER, True, RemoteCode.UPSTREAM, "the node's worker ended during the call", _LATER
    ),
    Reason.TOO_LONG: _Row(
        Blame.ASK,
        False,
        RemoteCode.TOO_LONG,
        "the prompt and max_tokens exceed the provider's context",
        "send a shorter prompt or ask for fewer tokens",
    ),
    Reason.REFUSED: _Row(
        Blame.ASK,
        False,
        RemoteCode.REFUSED,
        "the provider refuses this ask",
        "change its parameters or its content, or use another node",
    ),
    Reason.FILTERED: _Row(
        Blame.ASK,
        False,
        RemoteCode.REFUSED,
        "the provider's filter withheld the answer",
        "change the prompt, or use another model",
    ),
}


class ProviderFault(RemoteFault):
    """A provider's call failed; `retry_after` are seconds it asked for, None if it did not say.

    `retryable` is about the same key and model: another key may serve whenever `blame` is `KEY`.
    `refusal` is the vault's own code, "" when the provider answered. `unbilled` calls certainly
    cost the owner nothing; of others `tokens` (in, out) are what the provider said that they used,
    None when it said nothing.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str = "",
        retry_after: int | None = None,
        *,
        refusal: str = "",
        unbilled: bool = False,
        tokens: tuple[int, int] | None = None,
    ) -> None:
        row = _ROWS[reason]
        late = row.code == RemoteCode.BUSY and (retry_after or 0) > SOON
        super().__init__(
            RemoteCode.UPSTREAM if late else row.code,
            f"{row.message} {detail}".strip(),
            row.hint,
            retry_after or 0,
        )
        self.reason = reason
        self.blame = row.blame
        self.retryable = row.retryable  # type: ignore[misc] # of this fault, not of its class
        self.retry_after = retry_after
        self.refusal = refusal
        self.unbilled = unbilled
        self.tokens = tokens
        self._detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        values = (self.reason, self._detail, self.retry_after)
        return _restored, (*values, self.refusal, self.unbilled, self.tokens)


def _restored(
    reason: Reason,
    detail: str,
    retry_after: int | None,
    refusal: str,
    unbilled: bool,
    tokens: tuple[int, int] | None,
) -> ProviderFault:
    return ProviderFault(
        reason, detail, retry_after, refusal=refusal, unbilled=unbilled, tokens=tokens
    )


def broken(what: str) -> ProviderFault:
    """The fault for bytes that are no answer; `what` never holds their content."""
    return ProviderFault(Reason.BROKEN, what)


_QUOTA: Final = re.compile(
    rb"insufficient_quota|insufficient.balance|credit balance is too low|billing_error"
    rb"|requests?perday",
    re.IGNORECASE,
)
_KEY: Final = re.compile(
    rb"api_key_invalid|api key not valid|invalid_api_key|authentication_error", re.IGNORECASE
)
_MODEL: Final = re.compile(
    rb"model_not_found|invalid.model|not a valid model|model.{1,80}(not found|does not exist)",
    re.IGNORECASE,
)
_TOO_LONG: Final = re.compile(
    rb"context_length_exceeded|exceed_context_size|context length|context window"
    rb"|prompt is too long|exceeds the maximum number of tokens|request_too_large",
    re.IGNORECASE,
)
_OVERLOADED: Final = re.compile(rb"overloaded|unavailable", re.IGNORECASE)
_RATE: Final = re.compile(rb"rate_limit|resource_exhausted", re.IGNORECASE)
_DELAY: Final = re.compile(rb'"retryDelay":\s*"(\d{1,6})(?:\.\d+)?s"')
"""Google's wait, which is in the body: google.rpc.RetryInfo."""


def fault_of_status(status: int, body: bytes, retry_after: int | None = None) -> ProviderFault:
    """What a response that is no answer means."""
    body = body[:MAX_ERROR]
    if retry_after is None and (delay := _DELAY.search(body)):
        retry_after = int(delay[1])
    # As in the vault: who declines has generated nothing, who fails may have.
    declined = 300 <= status < 500
    return ProviderFault(_reason(status, body), retry_after=retry_after, unbilled=declined)


def fault_in_stream(error: bytes) -> ProviderFault:
    """What an error in the middle of a stream means; its status was 200."""
    for words, reason in _IN_STREAM:
        if words.search(error[:MAX_ERROR]):
            return ProviderFault(reason)
    return ProviderFault(Reason.FAILED)


_IN_STREAM: Final = (
    (_QUOTA, Reason.QUOTA),
    (_RATE, Reason.RATE),
    (_KEY, Reason.KEY_REFUSED),
    (_TOO_LONG, Reason.TOO_LONG),
    (_OVERLOADED, Reason.OVERLOADED),
)


def _reason(status: int, body: bytes) -> Reason:
    match status:
        case 402:
            return Reason.QUOTA
        case 429:
            return Reason.QUOTA if _QUOTA.search(body) else Reason.RATE
        case 401:
            return Reason.KEY_REFUSED
        case 403:
            return Reason.MODEL_UNKNOWN if _MODEL.search(body) else Reason.KEY_REFUSED
        case 404:
            return Reason.MODEL_UNKNOWN
        case 413:
            return Reason.TOO_LONG
        case 408 | 504:
            return Reason.SILENT
        case 503 | 529:
            return Reason.OVERLOADED
    if 400 <= status < 500:
        return _reason_of_bad_request(body)
    return Reason.OVERLOADED if _OVERLOADED.search(body) else Reason.FAILED


def _reason_of_bad_request(body: bytes) -> Reason:
    for words, reason in (
        (_TOO_LONG, Reason.TOO_LONG),
        (_QUOTA, Reason.QUOTA),
        (_KEY, Reason.KEY_REFUSED),
        (_MODEL, Reason.MODEL_UNKNOWN),
    ):
        if words.search(body):
            return reason
    return Reason.REFUSED


_REFUSALS: Final = {
    "timeout": Reason.SILENT,
    "slow": Reason.SILENT,
    "unreachable": Reason.FAILED,
    "cut": Reason.FAILED,
    "redirect": Reason.FAILED,
    "encoding": Reason.FAILED,
    "too_large": Reason.TOO_LONG,
    **dict.fromkeys(("token", "host", "path", "method", "body", "field"), Reason.REFUSED),
}
"""The vault's own codes; all others are limits that the owner set for the key."""


_MAYBE_BILLED: Final = frozenset({"timeout", "cut", "encoding"})
"""The vault says these after it has sent the call; all others mean that nothing was generated."""


def fault_of_refusal(code: str, retry_after: int | None = None) -> ProviderFault:
    """What a refusal by the vault means; `code` is from its refusal header."""
    reason = _REFUSALS.get(code, Reason.LIMIT)
    unbilled = code not in _MAYBE_BILLED
    return ProviderFault(reason, f"({code})", retry_after, refusal=code, unbilled=unbilled)


def seconds_of(header: str | None) -> int | None:
    """The seconds of a Retry-After header, which the vault passes on only as a number."""
    if header and header.isascii() and header.isdigit() and len(header) < 7:
        return int(header)
    return None
