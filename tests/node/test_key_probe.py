"""What `ricochet keys test` makes of a provider's answers, through a vault in this process."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from vault_bench import RULES, TOKEN, running

from ricochet_node.key_probe import Report, probe
from ricochet_node.keystore import KeyInfo
from ricochet_node.providers import Dialect
from ricochet_protocol.errors import BudgetError, ConfigurationError, LocalFault, RicochetError

LIST = {"data": [{"id": "m"}, {"id": "n"}]}
INFO = KeyInfo(id="k", provider="openai", origin="https://api.openai.com/v1", last4="")


def probed(
    home: Path, *answers: tuple[int, Any], provider: str = "openai", dialect: Dialect, **told: str
) -> Report:
    """Probe model `m`; the provider gives `answers` in turn."""

    async def inner() -> Report:
        left = list(answers)

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            status, body = left.pop(0)
            if isinstance(body, str):
                return web.Response(status=status, text=body, headers=told)
            return web.json_response(body, status=status, headers=told)

        info = KeyInfo(id="k", provider=provider, origin=INFO.origin, last4="")
        async with asyncio.timeout(20), running(home, RULES, dialect=dialect) as bench:
            bench.provider.answer = answer
            async with aiohttp.ClientSession(
                bench.url, headers={"Authorization": f"Bearer {TOKEN}"}
            ) as client:
                return await probe(client, info, "m")

    return asyncio.run(inner())


def test_a_good_key_tells_models_and_limits(tmp_path: Path) -> None:
    told = {"x-ratelimit-remaining-requests": "59"}
    for dialect, listed in (
        (Dialect.OPENAI, LIST),
        (Dialect.ANTHROPIC, LIST),
        (Dialect.GOOGLE, {"models": [{"name": "models/m"}, {"name": "models/n"}]}),
    ):
        report = probed(
            tmp_path, (200, listed), (200, {}), provider=dialect.value, dialect=dialect, **told
        )
        assert report == Report(("m", "n"), told, "m")


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        ((401, {}), ConfigurationError, "key_refused"),
        ((400, {"error": {"status": "API_KEY_INVALID"}}), ConfigurationError, "key_refused"),
        ((429, {"error": {"code": "insufficient_quota"}}), BudgetError, "out_of_quota"),
        ((402, {}), BudgetError, "out_of_quota"),
        ((400, {"error": "Your credit balance is too low"}), BudgetError, "out_of_quota"),
        ((429, {}), LocalFault, "rate_limited"),
        ((404, "<html>nothing here</html>"), ConfigurationError, "model_refused"),
        ((307, {}), ConfigurationError, "wrong_origin"),
        ((503, {}), LocalFault, "provider_failed"),
    ],
)
def test_what_is_wrong_with_a_key_is_named(
    tmp_path: Path, answer: tuple[int, Any], kind: type[RicochetError], code: str
) -> None:
    with pytest.raises(kind) as caught:
        probed(tmp_path, (200, LIST), answer, dialect=Dialect.OPENAI)
    assert caught.value.code == code
    assert caught.value.hint


def test_an_address_without_a_list_is_wrong(tmp_path: Path) -> None:
    report = probed(tmp_path, (404, "no list"), (200, {}), dialect=Dialect.OPENAI)
    assert report == Report((), {}, "m")
    with pytest.raises(ConfigurationError) as caught:
        probed(tmp_path, (404, "nothing"), (404, "at all"), dialect=Dialect.OPENAI)
    assert caught.value.code == "wrong_origin" and "--url" in caught.value.hint


def test_a_page_that_is_no_list_is_a_wrong_address(tmp_path: Path) -> None:
    for page in ("<html></html>", '{"data": 5}'):
        with pytest.raises(ConfigurationError) as caught:
            probed(tmp_path, (200, page), dialect=Dialect.OPENAI)
        assert caught.value.code == "wrong_origin"
