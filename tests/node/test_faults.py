"""What providers' errors mean: every documented way of saying it, and nothing of their words."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_node.faults import (
    SOON,
    Blame,
    ProviderFault,
    Reason,
    broken,
    fault_in_stream,
    fault_of_refusal,
    fault_of_status,
    seconds_of,
)
from ricochet_protocol.errors import REMOTE_CODES, RemoteCode

PER_DAY = b'{"error":{"code":429,"details":[{"quotaId":"GenerateRequestsPerDayPerProject"}]}}'
PER_MINUTE = (
    b'{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"You exceeded your current '
    b'quota, please check your plan and billing details.","details":[{"quotaId":'
    b'"GenerateRequestsPerMinutePerProjectPerModel"},{"retryDelay": "34.07s"}]}}'
)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, b'{"error":{"code":"context_length_exceeded"}}', Reason.TOO_LONG),
        (400, b'{"error":{"message":"prompt is too long: 210000 tokens"}}', Reason.TOO_LONG),
        (400, b"The input token count (2) exceeds the maximum number of tokens", Reason.TOO_LONG),
        (413, b'{"error":{"type":"request_too_large"}}', Reason.TOO_LONG),
        (400, b'{"error":{"message":"Your credit balance is too low"}}', Reason.QUOTA),
        (402, b'{"error":{"message":"Insufficient Balance"}}', Reason.QUOTA),
        (429, b'{"error":{"code":"insufficient_quota"}}', Reason.QUOTA),
        (429, PER_DAY, Reason.QUOTA),
        (429, PER_MINUTE, Reason.RATE),
        (429, b"", Reason.RATE),
        (400, b'{"error":{"details":[{"reason":"API_KEY_INVALID"}]}}', Reason.KEY_REFUSED),
        (401, b"<html>", Reason.KEY_REFUSED),
        (403, b'{"error":{"type":"permission_error"}}', Reason.KEY_REFUSED),
        (403, b'{"error":{"code":"model_not_found"}}', Reason.MODEL_UNKNOWN),
        (404, b'{"error":{"type":"not_found_error"}}', Reason.MODEL_UNKNOWN),
        (400, b'{"error":{"message":"nope is not a valid model ID"}}', Reason.MODEL_UNKNOWN),
        (400, b'{"error":{"message":"Unknown parameter"}}', Reason.REFUSED),
        (422, b"", Reason.REFUSED),
        (408, b"", Reason.SILENT),
        (504, b"", Reason.SILENT),
        (503, b"", Reason.OVERLOADED),
        (529, b'{"error":{"type":"overloaded_error"}}', Reason.OVERLOADED),
        (500, b'{"error":{"type":"api_error"}}', Reason.FAILED),
        (502, b"<html>Bad Gateway</html>", Reason.FAILED),
        (204, b"", Reason.FAILED),
    ],
)
def test_a_status_and_its_body(status: int, body: bytes, reason: Reason) -> None:
    assert fault_of_status(status, body).reason is reason


def test_waits_are_the_headers_or_googles() -> None:
    assert fault_of_status(429, b"", 7).retry_after == 7
    assert fault_of_status(429, PER_MINUTE).retry_after == 34
    assert fault_of_status(429, PER_MINUTE, 7).retry_after == 7
    assert [seconds_of(text) for text in ("12", "", None, "-1", "soon", "9" * 7, "²")] == [
        12,
        *[None] * 6,
    ]


def test_a_peer_is_not_kept_waiting_for_long() -> None:
    assert ProviderFault(Reason.RATE, retry_after=SOON).code == RemoteCode.BUSY
    assert ProviderFault(Reason.RATE, retry_after=SOON).wait == SOON
    assert ProviderFault(Reason.RATE, retry_after=SOON + 1).code == RemoteCode.UPSTREAM


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (b'{"type":"overloaded_error"}', Reason.OVERLOADED),
        (b'{"status":"UNAVAILABLE"}', Reason.OVERLOADED),
        (b'{"type":"rate_limit_error"}', Reason.RATE),
        (b'{"code":"insufficient_quota"}', Reason.QUOTA),
        (b'{"message":"The context window is exceeded"}', Reason.TOO_LONG),
        (b'"what?"', Reason.FAILED),
    ],
)
def test_an_error_in_a_stream(error: bytes, reason: Reason) -> None:
    assert fault_in_stream(error).reason is reason


@pytest.mark.parametrize(
    ("code", "reason", "blame"),
    [
        ("timeout", Reason.SILENT, Blame.PROVIDER),
        ("unreachable", Reason.FAILED, Blame.PROVIDER),
        ("cut", Reason.FAILED, Blame.PROVIDER),
        ("redirect", Reason.FAILED, Blame.PROVIDER),
        ("token", Reason.REFUSED, Blame.ASK),
        ("rate", Reason.LIMIT, Blame.KEY),
        ("cap_day", Reason.LIMIT, Blame.KEY),
        ("what comes later", Reason.LIMIT, Blame.KEY),
    ],
)
def test_a_refusal_of_the_vault(code: str, reason: Reason, blame: Blame) -> None:
    fault = fault_of_refusal(code, 3)
    assert (fault.reason, fault.blame, fault.retry_after) == (reason, blame, 3)
    assert fault.unbilled is (code not in ("timeout", "cut")), "what was sent may be billed"


def test_who_is_to_blame_and_whether_a_retry_helps() -> None:
    shown = {reason: ProviderFault(reason) for reason in Reason}
    assert {r for r, f in shown.items() if f.blame is Blame.KEY} == {
        Reason.KEY_REFUSED,
        Reason.QUOTA,
        Reason.RATE,
        Reason.LIMIT,
    }
    assert {r for r, f in shown.items() if f.blame is Blame.ASK} == {
        Reason.TOO_LONG,
        Reason.REFUSED,
        Reason.FILTERED,
    }
    never = {Reason.KEY_REFUSED, Reason.QUOTA, Reason.MODEL_UNKNOWN}
    assert {r for r, f in shown.items() if not f.retryable} == never | {
        Reason.TOO_LONG,
        Reason.REFUSED,
        Reason.FILTERED,
    }


@given(st.integers(0, 999), st.binary(max_size=200), st.none() | st.integers(0, 10**6))
def test_any_answer_is_a_fault_that_a_peer_may_see(
    status: int, body: bytes, wait: int | None
) -> None:
    for fault in (fault_of_status(status, body, wait), fault_in_stream(body)):
        assert fault.code in REMOTE_CODES
        again = pickle.loads(pickle.dumps(fault))
        assert (again.reason, again.message, again.retry_after) == (
            fault.reason,
            fault.message,
            fault.retry_after,
        )
    spoken = fault_of_status(status, b"secret " + body)
    assert "secret" not in spoken.message + spoken.hint


def test_a_broken_answer_says_what_it_was() -> None:
    assert broken("a line without end").message == "the provider sent a line without end"
