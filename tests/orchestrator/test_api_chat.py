"""Chat through the subscriber's API, by OpenAI's own client: answers, streams, errors, budgets."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import openai
import pytest
from api_stage import PAGE, Opened, run, until
from orchestrator_stage import Stage

from ricochet_orchestrator.call_record import Allowance
from ricochet_protocol.conversation import ToolCall
from ricochet_protocol.ids import Period
from ricochet_protocol.messages import Answered, Ask, CallPiece, Reply
from ricochet_protocol.money import PricePerMillion, Units, cost
from ricochet_protocol.receipt import Receipt, answer_digest, sign_receipt
from ricochet_protocol.tokens import count_texts
from twins.scripted_node import MODEL, OFFER, Fault, ScriptedNode

ABLE = msgspec.structs.replace(OFFER, features=("json_object", "seed", "stop", "tools"))
HI = [{"role": "user", "content": "Say hello to everybody."}]
LOOK = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


class Caller(ScriptedNode):
    """Answers every ask that offers functions by calling `look`."""

    async def _generate(self, ask: Ask, *rest: object) -> AsyncIterator[Reply]:
        if not ask.tools:
            async for reply in super()._generate(ask, *rest):  # type: ignore[arg-type]
                yield reply
            return
        self.calls.append(ask)
        yield CallPiece(index=0, id="c1", name="look", arguments='{"at":')
        yield CallPiece(index=0, id="", name="", arguments='"it"}')
        tokens, out = count_texts(ask.texts()), 5
        bill = cost(tokens, out, OFFER.price_in, OFFER.price_out)
        self.due += bill
        receipt = Receipt(
            network=self.settlement.domain.network,
            subscriber=self.subscriber,
            operator=self.operator,
            period=ask.period,
            request_id=ask.request_id,
            ask=ask.digest(),
            advert=self.advert.digest(),
            answer=answer_digest("", (ToolCall("c1", "look", '{"at":"it"}'),)),
            tokens_in=tokens,
            tokens_out=out,
            exact=True,
            cost=bill,
            due=Units(self.due),
        )
        yield Answered(receipt=sign_receipt(self._seed, receipt), finish="tool_calls")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    stage = Stage(tmp_path)
    stage.nodes.append(Caller(bytes([101]) * 32, stage.settlement, stage.network, offers=(ABLE,)))
    stage.nodes[0].register()
    return stage


def test_answers_streams_tools_and_models(stage: Stage) -> None:
    async def scenario(one: Opened) -> None:
        create = one.client.chat.completions.create
        models = [model.id async for model in one.client.models.list()]
        assert models[0] == MODEL and "ricochet/overview" in models[1:]
        answer = await create(
            model=MODEL, messages=HI, seed=3, response_format={"type": "json_object"}
        )
        text = answer.choices[0].message.content
        assert text.startswith("The text has the number")
        assert answer.choices[0].finish_reason == "stop"
        asked = stage.nodes[0].calls[0]
        assert (asked.seed, asked.response_format.kind) == (3, "json_object")
        assert answer.usage.prompt_tokens == count_texts(asked.texts())
        assert 1000 < asked.max_tokens < OFFER.context  # as much as the window has room for

        stream = await create(
            model=MODEL,
            messages=HI,
            max_tokens=50,
            stop=["END"],
            stream=True,
            stream_options={"include_usage": True},
        )
        parts = [part async for part in stream]
        streamed = "".join(p.choices[0].delta.content or "" for p in parts if p.choices)
        assert streamed == text
        assert parts[-2].choices[0].finish_reason == "stop"
        assert parts[-1].usage.completion_tokens > 0

        called = await create(model=MODEL, messages=HI, tools=LOOK)
        assert called.choices[0].finish_reason == "tool_calls"
        (call,) = called.choices[0].message.tool_calls
        assert (call.id, call.function.arguments) == ("c1", '{"at":"it"}')
        said = called.choices[0].message.model_dump()
        back = {"role": "tool", "tool_call_id": "c1", "content": "a cat"}
        assert (await create(model=MODEL, messages=[*HI, said, back])).choices[0].message.content
        deltas = [
            p.choices[0].delta
            async for p in await create(model=MODEL, messages=HI, tools=LOOK, stream=True)
        ]
        pieces = [piece for delta in deltas for piece in delta.tool_calls or ()]
        assert "".join(piece.function.arguments for piece in pieces) == '{"at":"it"}'
        assert pieces[0].function.name == "look"

    run(stage, scenario)
    (node,) = stage.nodes
    assert node.due <= node.vouchered


def test_the_synchronous_client(stage: Stage) -> None:
    def ask(url: str, secret: str) -> str:
        with openai.OpenAI(base_url=url, api_key=secret, max_retries=0, timeout=20) as client:
            stream = client.chat.completions.create(model=MODEL, messages=HI, stream=True)
            return "".join(part.choices[0].delta.content or "" for part in stream)

    async def scenario(one: Opened) -> None:
        assert "number" in await asyncio.to_thread(ask, one.url, one.secret)

    run(stage, scenario)


def test_single_calls_are_refused_where_texts_have_to_be_redacted(stage: Stage) -> None:
    async def scenario(one: Opened) -> None:
        one.service.redacts = True
        with pytest.raises(openai.BadRequestError) as refused:
            await one.client.chat.completions.create(model=MODEL, messages=HI)
        assert refused.value.code == "not_redacted" and stage.calls == 0

    run(stage, scenario)


def test_errors_are_those_that_clients_know(stage: Stage) -> None:
    async def scenario(one: Opened) -> None:
        create = one.client.chat.completions.create
        await create(model=MODEL, messages=HI)
        with pytest.raises(openai.NotFoundError) as unknown:
            await create(model="large", messages=HI)
        assert unknown.value.code == "model_not_found" and "small" in unknown.value.message
        with pytest.raises(openai.BadRequestError) as twice:
            await create(model=MODEL, messages=HI, n=2)
        assert twice.value.param == "n"
        with pytest.raises(openai.BadRequestError) as unsupported:
            await create(model=MODEL, messages=HI, top_p=0.5)
        assert unsupported.value.code == "unsupported" and "top_p" in unsupported.value.message
        with pytest.raises(openai.BadRequestError) as long:
            await create(model=MODEL, messages=[{"role": "user", "content": "word " * 5000}])
        assert long.value.code == "context_length_exceeded"
        with pytest.raises(openai.AuthenticationError, match="serve keys new"):
            await one.with_key("rcsk-guess").models.list()

        stage.nodes[0].always = Fault.RECEIPT_OF_ANOTHER_CALL
        stream = await create(model=MODEL, messages=HI, stream=True)
        with pytest.raises(openai.APIError, match="receipt"):
            async for _ in stream:
                pass

    run(stage, scenario)


def test_keys_have_budgets_models_ends_and_can_be_revoked(stage: Stage) -> None:
    now = stage.settlement.now

    async def scenario(one: Opened) -> None:
        async def create(secret: str, name: str = "") -> openai.types.chat.ChatCompletion:
            return await one.with_key(secret).chat.completions.create(
                model=MODEL, messages=HI, max_tokens=50, extra_headers={"Idempotency-Key": name}
            )

        few = one.keys.new("few", now, budget=Units(60), per="day")
        key = next(key for key in one.keys.list() if key.name == "few")
        for number in range(20):
            try:
                await create(few, str(number))
            except openai.RateLimitError as refused:
                error = refused
                break
        assert number >= 2
        assert (error.status_code, error.code) == (429, "insufficient_quota")
        assert error.response.headers["x-should-retry"] == "false"
        allowance = Allowance(key.id, key.budget, key.per)
        assert one.board.calls.spent(allowance, Period(1), now) <= 60
        served = len(stage.nodes[0].calls)
        assert (await create(few, "0")).choices[0].message.content  # answered before, for nothing
        assert len(stage.nodes[0].calls) == served == number
        one.keys.limit("few", Units(120))
        await create(few, "raised")
        one.keys.limit("few", Units(60))
        stage.settlement.now += 86_400
        await create(few, "tomorrow")

        other = one.keys.new("other", now, models=("large",))
        with pytest.raises(openai.PermissionDeniedError) as denied:
            await create(other)
        assert denied.value.code == "model_not_allowed"
        assert [m.id async for m in one.with_key(other).models.list()] == []

        brief = one.keys.new("brief", stage.settlement.now, days=1)
        await create(brief)
        stage.settlement.now += 86_401
        with pytest.raises(openai.AuthenticationError):
            await create(brief)
        one.keys.revoke("test")
        with pytest.raises(openai.AuthenticationError):
            await one.client.models.list()

    run(stage, scenario)


def test_without_subscription_money_is_what_is_missing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, subscribed=False)
    stage.node(1)

    async def scenario(one: Opened) -> None:
        with pytest.raises(openai.APIStatusError) as refused:
            await one.client.chat.completions.create(model=MODEL, messages=HI)
        assert (refused.value.status_code, refused.value.code) == (402, "no_subscription")
        assert refused.value.type == "insufficient_quota"

    run(stage, scenario)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_leaves_ends_the_call(stage: Stage, streamed: bool) -> None:
    node = stage.node(
        2,
        pieces=300,
        answer=lambda _: "word " * 600,
        offers=(msgspec.structs.replace(OFFER, id="slow"),),
    )

    async def scenario(one: Opened) -> None:
        create = one.client.chat.completions.create
        if streamed:
            stream = await create(model="slow", messages=HI, stream=True)
            async for part in stream:
                if part.choices[0].delta.content:
                    break
            await stream.close()
        else:
            asking = asyncio.create_task(create(model="slow", messages=HI))
            await until(lambda: bool(node.calls))
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: not node.open)
        (row,) = [key.id for key in one.keys.list()]
        spent = one.board.calls.spent(Allowance(row), Period(1), 0)
        whole = cost(30, 600, PricePerMillion(OFFER.price_in), OFFER.price_out)
        assert 0 < spent < whole // 2

    run(stage, scenario)


def test_pages_strangers_and_other_paths_stay_outside(stage: Stage) -> None:
    async def scenario(one: Opened) -> None:
        good, page = one.bearer, {"Origin": PAGE}
        preflight = {**page, "Access-Control-Request-Method": "POST"}
        tries = [
            ({**good, "Origin": "https://evil.example"}, "GET", "/models", 403),
            ({**good, "Host": "evil.example"}, "GET", "/models", 403),
            ({}, "GET", "/models", 401),
            (page, "GET", "/models", 401),
            ({"Authorization": f"Basic {one.secret}"}, "GET", "/models", 401),
            (good, "POST", "/models", 405),
            (good, "GET", "/chat/completions", 405),
            (good, "GET", "/files", 404),
            (good, "GET", "/models", 200),
            ({**good, **page}, "GET", "/models", 200),
            (preflight, "OPTIONS", "/chat/completions", 200),
            ({**preflight, "Origin": "https://evil.example"}, "OPTIONS", "/models", 400),
            ({}, "GET", "/../health", 200),
            ({"Host": "evil.example"}, "GET", "/../health", 403),
        ]
        async with aiohttp.ClientSession() as client:
            for headers, method, path, status in tries:
                async with client.request(method, one.url + path, headers=headers) as reply:
                    assert reply.status == status, (headers, method, path)
                    allowed = reply.headers.get("Access-Control-Allow-Origin")
                    assert allowed in (None, PAGE)
                    assert (allowed == PAGE) == (headers.get("Origin") == PAGE)
                    if status > 400:
                        assert (await reply.json())["error"]["message"]
        assert stage.nodes[0].asks == 0

    run(stage, scenario)


BROKEN = (
    b"",
    b"{",
    b"[]",
    b"nul",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"model":"small"}',
    b'{"model":"small","messages":[]}',
    b'{"model":"small","messages":[{"role":"user","content":{}}]}',
    b'{"model":"small","messages":[{"role":"tool","content":"x"}]}',
)


def test_bodies_that_are_no_request(stage: Stage) -> None:
    async def scenario(one: Opened) -> None:
        async with aiohttp.ClientSession(headers=one.bearer) as client:
            for body in BROKEN:
                async with client.post(f"{one.url}/chat/completions", data=body) as reply:
                    assert reply.status == 400, body
                    error = (await reply.json())["error"]
                    assert error["type"] == "invalid_request_error" and error["message"]

    run(stage, scenario)


def test_a_body_without_end_is_refused(stage: Stage) -> None:
    async def scenario(one: Opened) -> None:
        async with aiohttp.ClientSession(headers=one.bearer) as client:
            data = io.BytesIO(b" " * (18 * 1024 * 1024))
            async with client.post(f"{one.url}/chat/completions", data=data) as reply:
                assert reply.status == 413
                assert "bytes" in (await reply.json())["error"]["message"]

    run(stage, scenario)


def test_the_end_lets_open_calls_finish_and_takes_no_new_ones(stage: Stage) -> None:
    stage.nodes[0].think = 0.5

    async def scenario(one: Opened) -> None:
        asking = asyncio.create_task(one.client.chat.completions.create(model=MODEL, messages=HI))
        await one.client.models.list()
        await until(lambda: bool(stage.nodes[0].asks))
        one.service.closing.set()
        with pytest.raises(openai.InternalServerError, match="stopping"):
            await one.client.models.list()
        await one.end()
        assert (await asking).choices[0].message.content

    run(stage, scenario)
