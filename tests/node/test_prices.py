"""What providers charge: right for known models, exact, and never a guess."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_node import prices
from ricochet_node.prices import FREE, Price, price_of
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.money import PricePerMillion, cost


def price(dollars_in: str, dollars_out: str) -> Price:
    return Price(
        PricePerMillion(round(float(dollars_in) * 10**6)),
        PricePerMillion(round(float(dollars_out) * 10**6)),
    )


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("openai", "gpt-4o-mini", price("0.15", "0.60")),
        ("anthropic", "claude-sonnet-4-5", price("3", "15")),
        ("google", "gemini-2.5-pro", price("1.25", "10")),
        ("mistral", "mistral-large-latest", price("0.5", "1.5")),
        ("deepseek", "deepseek-chat", price("0.28", "0.42")),
    ],
)
def test_known_models_have_the_price_of_litellms_table(
    provider: str, model: str, expected: Price
) -> None:
    assert price_of(provider, model) == expected


def test_a_long_prompt_costs_what_long_prompts_cost() -> None:
    assert price_of("google", "gemini-2.5-pro", 200_000) == price("1.25", "10")
    assert price_of("google", "gemini-2.5-pro", 200_001) == price("2.5", "15")


def test_what_is_not_known_is_not_guessed() -> None:
    assert price_of("openai", "no-such-model") is None
    assert price_of("openai", "claude-sonnet-4-5") is None
    assert price_of("openai-compatible", "gpt-4o-mini") is None
    assert price_of("somebody", "gpt-4o-mini") is None


def test_a_server_of_ones_own_is_free() -> None:
    assert price_of("ollama", "qwen2.5:0.5b") == FREE
    assert price_of("local", "anything") == FREE


@given(st.text(max_size=30), st.integers(0, 10**7))
def test_any_name_has_a_price_or_none(model: str, prompt: int) -> None:
    found = price_of("openai", model, prompt)
    assert found is None or cost(1, 1, found.tokens_in, found.tokens_out) >= 0


def test_litellm_is_not_imported() -> None:
    code = (
        "import sys; from ricochet_node.prices import price_of;"
        "assert price_of('openai', 'gpt-4o-mini'); assert 'litellm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_table_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "_TABLE", "no-such-file.json")
    prices._table.cache_clear()
    try:
        with pytest.raises(LocalFault) as caught:
            price_of("openai", "never asked before")
    finally:
        prices._table.cache_clear()
    assert caught.value.code == "price_table_missing"
    assert "pip install" in caught.value.hint
