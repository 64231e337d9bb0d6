"""The owner's limits over HTTP: refusals, what is counted however a call ends, and the audit."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from vault_bench import BODY, NOON, RULES, SECRET, USED, Bench, running, streamed

from ricochet_node.key_rules import Hours, KeyRules
from ricochet_node.providers import Dialect
from ricochet_node.vault import REFUSAL
from ricochet_protocol.money import Units


def run(home: Path, scenario: Callable[[Bench], Awaitable[None]], **options: Any) -> None:
    async def inner() -> None:
        async with asyncio.timeout(30), running(home, **options) as bench:
            await scenario(bench)

    asyncio.run(inner())


def rules(**changes: object) -> KeyRules:
    values = {"models": ("m",), "prices": RULES.prices, "time_zone": "UTC"}
    return KeyRules(**{**values, **changes})  # type: ignore[arg-type] # fields by name


WORST = 100
"""Units that a call of BODY costs at least at worst: its 50 tokens out."""


def test_a_call_is_settled_before_its_caller_sees_the_end(tmp_path: Path) -> None:
    async def scenario(it: Bench) -> None:
        it.provider.answer = streamed(USED)
        for number in (1, 2, 3):
            assert await it.call() == (200, "")
            assert it.spent() == 19 * number

    run(tmp_path, scenario, rules=rules(concurrency=1))


@pytest.mark.parametrize(
    ("dialect", "path", "body", "answer"),
    [
        (
            Dialect.ANTHROPIC,
            "/k/v1/messages",
            BODY,
            streamed(
                {"message": {"usage": {"input_tokens": 5, "output_tokens": 1}}},
                {"usage": {"output_tokens": 7}},
            ),
        ),
        (
            Dialect.GOOGLE,
            "/k/v1beta/models/m:streamGenerateContent?alt=sse",
            {"contents": [], "generationConfig": {"maxOutputTokens": 50}},
            streamed({"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7}}),
        ),
    ],
)
def test_other_dialects_are_settled_too(
    tmp_path: Path, dialect: Dialect, path: str, body: object, answer: Any
) -> None:
    async def scenario(it: Bench) -> None:
        it.provider.answer = answer
        assert await it.call(path, body) == (200, "")
        assert it.spent() == 19

    run(tmp_path, scenario, dialect=dialect)


def test_each_limit_has_its_own_refusal_and_nothing_is_sent(tmp_path: Path) -> None:
    async def scenario(it: Bench) -> None:
        async def refused(**changes: object) -> tuple[int, str, str | None]:
            it.vault.change_rules({"k": rules(**changes), "unknown": rules()})
            async with it.post() as answer:
                wait = answer.headers.get("Retry-After")
                return answer.status, answer.headers[REFUSAL], wait

        assert await it.call() == (200, "")
        sent = len(it.provider.seen)
        assert await refused(rpm=1) == (429, "rate", "60")
        assert await refused(per_day=Units(50)) == (429, "cap_day", "43200")
        assert await refused(hours=Hours(0, 60)) == (503, "hours", "43200")
        with it.counters.change():
            it.counters.disable("k")
        assert await refused() == (503, "disabled", None)
        assert len(it.provider.seen) == sent
        codes = [line["refusal"] for line in it.audited()]
        assert codes == ["", "rate", "cap_day", "hours", "disabled"]

    run(tmp_path, scenario)


def test_concurrency_frees_its_place_when_a_caller_hangs_up(tmp_path: Path) -> None:
    async def scenario(it: Bench) -> None:
        begun = asyncio.Event()

        async def stall(request: web.BaseRequest) -> web.StreamResponse:
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

        it.provider.answer = stall
        first = asyncio.create_task(it.call())
        await begun.wait()
        assert await it.call() == (429, "concurrency")
        first.cancel()
        it.provider.answer = streamed(USED)
        while await it.call() == (429, "concurrency"):
            pass
        lines = it.audited()
        hung_up = next(line for line in lines if line["status"] == 499)
        assert hung_up["cost"] == hung_up["worst"] > WORST
        assert it.spent() == hung_up["worst"] + 19

    run(tmp_path, scenario, rules=rules(concurrency=1))


def test_what_the_provider_declined_costs_nothing(tmp_path: Path) -> None:
    async def decline(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({}, status=429, headers={"Retry-After": "7"})

    async def fail(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({}, status=500)

    async def scenario(it: Bench) -> None:
        it.provider.answer = decline
        assert await it.call() == (429, "")
        assert it.spent() == 0
        it.provider.answer = fail
        assert await it.call() == (500, "")
        assert it.spent() > WORST

    run(tmp_path, scenario)


def test_a_cut_answer_counts_at_its_worst(tmp_path: Path) -> None:
    async def cut(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"usage":{"prompt_tokens":0,"completion_tokens":0}}\n\n')
        assert request.transport is not None
        request.transport.abort()
        return response

    async def scenario(it: Bench) -> None:
        it.provider.answer = cut
        with pytest.raises(aiohttp.ClientError):
            await it.call()
        assert it.spent() > WORST
        assert it.audited()[0]["refusal"] == "cut"

    run(tmp_path, scenario)


def test_the_audit_tells_each_call_and_no_content(tmp_path: Path) -> None:
    async def scenario(it: Bench) -> None:
        it.provider.answer = streamed({"choices": [{"delta": {"content": "whispered"}}]}, USED)
        await it.call()
        assert await it.call(body=BODY | {"model": "other"}) == (403, "model")
        first, second = it.audited()
        assert first.pop("worst") > WORST
        assert first == {
            "time": "2026-11-23T12:00:00Z",
            "key": "k",
            "model": "m",
            "status": 200,
            "refusal": "",
            "tokens_in": 5,
            "tokens_out": 7,
            "cost": 19,
        }
        assert (second["status"], second["refusal"], second["cost"]) == (403, "model", 0)
        text = (tmp_path / "keys.log").read_text()
        for secret in (SECRET, "confidential", "whispered"):
            assert secret not in text
        assert (tmp_path / "keys.log").stat().st_mode & 0o777 == 0o600

    assert NOON == 1_795_435_200
    run(tmp_path, scenario)


def test_what_cannot_be_audited_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    full = False

    def limited(file: int, data: bytes) -> int:
        if full and data.startswith(b'{"time"'):
            raise OSError(28, "No space left on device")
        return write(file, data)

    monkeypatch.setattr(os, "write", limited)

    async def scenario(it: Bench) -> None:
        nonlocal full
        full = True
        assert await it.call() == (200, "")
        assert await it.call() == (503, "audit")
        assert len(it.provider.seen) == 1
        full = False
        assert await it.call() == (200, "")
        assert [line["status"] for line in it.audited()] == [200, 200]

    run(tmp_path, scenario)


def test_rate_limit_headers_pass_and_others_do_not(tmp_path: Path) -> None:
    told = {"X-RateLimit-Remaining-Requests": "59", "Anthropic-RateLimit-Tokens-Reset": SECRET}

    async def scenario(it: Bench) -> None:
        it.provider.answer = streamed(USED, **told, **{"X-Mine": "1", "Set-Cookie": "a=b"})
        async with it.post() as answer:
            await answer.read()
            assert answer.headers["X-RateLimit-Remaining-Requests"] == "59"
            assert SECRET not in str(answer.headers)
            assert "X-Mine" not in answer.headers and "Set-Cookie" not in answer.headers

    run(tmp_path, scenario)


def test_a_caller_who_sends_slowly_is_not_waited_for(tmp_path: Path) -> None:
    async def scenario(it: Bench) -> None:
        async def slowly() -> Any:
            yield b"{"
            await asyncio.Event().wait()

        async with it.client.post(
            f"{it.url}/k/chat/completions",
            data=slowly(),
            headers={"Authorization": "Bearer token-of-this-boot"},
        ) as answer:
            assert (answer.status, answer.headers[REFUSAL]) == (408, "slow")
        assert it.provider.seen == [] and it.spent() == 0

    run(tmp_path, scenario, read_seconds=0.05)


def test_a_provider_that_answers_slowly_is_not_waited_for(tmp_path: Path) -> None:
    async def drip(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"d")
        await asyncio.Event().wait()
        return response

    async def scenario(it: Bench) -> None:
        it.provider.answer = drip
        with pytest.raises(aiohttp.ClientError):
            await it.call()
        assert it.audited()[0]["refusal"] == "timeout"
        assert it.spent() > WORST

    run(tmp_path, scenario, upstream_seconds=0.1)


def test_ten_megabytes_pass_and_count_at_their_worst(tmp_path: Path) -> None:
    async def much(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"x" * 10_000_000, content_type="application/json")

    async def scenario(it: Bench) -> None:
        it.provider.answer = much
        async with it.post() as answer:
            assert len(await answer.read()) == 10_000_000
        assert it.spent() > WORST

    run(tmp_path, scenario)


def test_a_capped_call_is_sent_only_when_its_debit_is_on_disk(tmp_path: Path) -> None:
    async def scenario(it: Bench) -> None:
        synced = it.counters.synced

        async def after() -> None:
            assert it.provider.seen == [] and it.spent() > WORST
            await synced()

        async def failing() -> None:
            raise OSError("the disk is gone")

        it.counters.synced = after  # type: ignore[method-assign]
        assert await it.call() == (200, "")
        before = it.spent()
        it.counters.synced = failing  # type: ignore[method-assign]
        assert await it.call() == (503, "counters")
        assert len(it.provider.seen) == 1 and it.spent() == before
        it.vault.change_rules({"k": RULES})
        assert await it.call() == (200, ""), "without a cap nothing has to outlive power loss"

    run(tmp_path, scenario, rules=msgspec.structs.replace(RULES, per_day=Units(10**6)))
