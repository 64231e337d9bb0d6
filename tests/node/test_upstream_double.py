"""The provider double behaves as its users rely on: it must not be the thing that is wrong."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import aiohttp

from doubles import upstream as double
from doubles.upstream import UpstreamDouble

BODY = {"model": "m", "messages": [{"role": "user", "content": "tell me"}], "max_tokens": 50}


def test_answers_follow_from_the_prompt_and_calls_are_counted() -> None:
    async def scenario() -> None:
        async with UpstreamDouble(["k1", "k2"]) as upstream, aiohttp.ClientSession() as client:
            texts = []
            for _ in range(2):
                answer = await client.post(
                    f"{upstream.base_url}/chat/completions",
                    json=BODY,
                    headers={"authorization": "Bearer k1"},
                )
                texts.append((await answer.json())["choices"][0]["message"]["content"])
            assert texts[0] == texts[1] == " ".join(double.answer_to("tell me", 50))
            refused = await client.post(f"{upstream.base_url}/chat/completions", json=BODY)
            assert refused.status == 401
            assert (await refused.json())["error"]["code"] == "invalid_api_key"
            counts = await (await client.get(upstream.base_url[:-3] + "/_calls")).json()
            assert counts["keys"] == {"k1": 2}
            assert (counts["refused"], counts["total"]) == (1, 2)

    asyncio.run(scenario())


def test_a_posted_fault_strikes_its_model_as_often_as_told() -> None:
    async def scenario() -> None:
        async with UpstreamDouble(["k"]) as upstream, aiohttp.ClientSession() as client:
            control = upstream.base_url[:-3] + "/_fault"
            await client.post(control, json={"kind": "429", "model": "m", "times": 1})
            seen = []
            for _ in range(2):
                answer = await client.post(
                    f"{upstream.base_url}/chat/completions",
                    json=BODY,
                    headers={"authorization": "Bearer k"},
                )
                seen.append((answer.status, answer.headers.get("retry-after")))
            assert seen == [(429, "7"), (200, None)]

    asyncio.run(scenario())


def test_as_a_process_it_prints_its_url_and_stops_when_told(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("k1\nk2\n")
    command = [sys.executable, double.__file__, "--keys-file", str(keys), "--delay-ms", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        request = urllib.request.Request(
            f"{url}/chat/completions",
            data=json.dumps({**BODY, "stream": True}).encode(),
            headers={"authorization": "Bearer k2", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.read().endswith(b"data: [DONE]\n\n")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        process.stdout.close()
