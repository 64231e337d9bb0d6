"""The vault before providers of each dialect: what reaches them, and that nothing else does."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from doubles.recorder import Recorder
from ricochet_node.key_rules import KeyRules
from ricochet_node.keystore import Keystore
from ricochet_node.vault import REFUSAL
from ricochet_node.vault_process import VaultProcess

WORDS = "correct horse"
SECRETS = {"openai": "sk-openai-0123456789", "anthropic": "sk-ant-api-0123456789"}
SECRETS |= {"google": "AIza-0123456789abcdef", "ollama": ""}


@dataclass
class Bench:
    provider: Recorder
    vault: VaultProcess
    client: aiohttp.ClientSession

    async def call(
        self, path: str, body: object = None, method: str = "POST", **headers: str
    ) -> tuple[int, str]:
        """Status and the vault's refusal."""
        async with self.client.request(
            method,
            URL(self.vault.base_url + path, encoded=True),
            data=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {self.vault.token}", **headers},
        ) as answer:
            await answer.read()
            return answer.status, answer.headers.get(REFUSAL, "")


@contextlib.asynccontextmanager
async def running(home: Path) -> AsyncIterator[Bench]:
    async with Recorder() as provider, aiohttp.ClientSession() as client:
        store = Keystore(home / "keys.json")
        for name, secret in SECRETS.items():
            store.add(WORDS, name, name, f"{provider.url}/base", secret)
        rules = {name: KeyRules(models=("m",)) for name in SECRETS}
        vault = await VaultProcess.start(home / "keys.json", WORDS, list(SECRETS), rules)
        try:
            yield Bench(provider, vault, client)
        finally:
            await vault.stop()


def test_each_dialect_gets_its_own_credential_and_path_and_nothing_else(
    tmp_path: Path,
) -> None:
    body = {"model": "m", "messages": [], "max_tokens": 5}
    google = "/v1beta/models/m:streamGenerateContent?alt=sse"

    async def scenario() -> None:
        async with running(tmp_path) as it:
            assert await it.call("/openai/chat/completions", body) == (200, "")
            assert await it.call("/anthropic/v1/messages", body) == (200, "")
            assert await it.call(f"/google{google}", {"contents": []}) == (200, "")
            assert await it.call("/ollama/models", method="GET") == (200, "")
            seen = it.provider.seen
            assert [request.path for request in seen] == [
                "/base/chat/completions",
                "/base/v1/messages",
                f"/base{google}",
                "/base/models",
            ]
            assert seen[0].headers["Authorization"] == f"Bearer {SECRETS['openai']}"
            assert seen[1].headers["x-api-key"] == SECRETS["anthropic"]
            assert seen[1].headers["anthropic-version"]
            assert seen[2].headers["x-goog-api-key"] == SECRETS["google"]
            assert json.loads(seen[1].body) == body
            for request, own in zip(seen, SECRETS, strict=True):
                told = str(request.headers)
                held = {name for name, secret in SECRETS.items() if secret and secret in told}
                assert held == {own} - {"ollama"}
                assert it.vault.token not in told

            it.provider.reset()
            other = {"model": "other", "messages": [], "max_tokens": 5}
            assert await it.call("/openai/chat/completions", other) == (403, "model")
            assert await it.call("/anthropic/v1/messages", other) == (403, "model")
            path = "/google/v1beta/models/other:generateContent"
            assert await it.call(path, {"contents": []}) == (403, "model")
            assert await it.call("/anthropic/chat/completions", other) == (404, "path")
            assert await it.call("/openai/../anthropic/v1/messages", other) == (404, "path")
            assert await it.call("/open%61i/chat/completions", other) == (404, "path")
            assert await it.call("/openai/models") == (405, "method")
            assert await it.call("/openai/chat/completions", 1) == (400, "body")
            assert it.provider.seen == []

    asyncio.run(scenario())
