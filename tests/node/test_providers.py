"""The table of providers, and which request of a caller takes which of its routes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_node.origin import parse_origin
from ricochet_node.providers import PROVIDERS, ROUTES, Dialect, credential, provider_of
from ricochet_node.vault_request import Refusal, Target, target_untrusted


def test_every_default_origin_is_an_origin() -> None:
    for row in PROVIDERS.values():
        if row.origin:
            assert parse_origin(row.origin).text == row.origin
    assert [row.name for row in PROVIDERS.values() if not row.origin] == ["openai-compatible"]
    assert {row.name for row in PROVIDERS.values() if not row.needs_key} == {"ollama", "local"}


def test_an_unlisted_name_is_an_openai_compatible_server() -> None:
    row = provider_of("double")
    assert (row.name, row.dialect, row.needs_key) == ("double", Dialect.OPENAI, True)


def test_each_dialect_shows_its_key_its_own_way() -> None:
    assert credential(Dialect.OPENAI, "s") == {"Authorization": "Bearer s"}
    assert credential(Dialect.ANTHROPIC, "s")["x-api-key"] == "s"
    assert "anthropic-version" in credential(Dialect.ANTHROPIC, "s")
    assert credential(Dialect.GOOGLE, "s") == {"x-goog-api-key": "s"}
    assert all(credential(dialect, "") == {} for dialect in Dialect)


@pytest.mark.parametrize(
    ("dialect", "method", "path", "model"),
    [
        (Dialect.OPENAI, "POST", "/chat/completions", None),
        (Dialect.OPENAI, "GET", "/models", None),
        (Dialect.ANTHROPIC, "POST", "/v1/messages", None),
        (Dialect.ANTHROPIC, "GET", "/v1/models?limit=1000", None),
        (Dialect.GOOGLE, "POST", "/v1beta/models/gemini-9.5-pro:generateContent", "gemini-9.5-pro"),
        (Dialect.GOOGLE, "POST", "/v1beta/models/m:streamGenerateContent?alt=sse", "m"),
        (Dialect.GOOGLE, "GET", "/v1beta/models", None),
    ],
)
def test_what_passes(dialect: Dialect, method: str, path: str, model: str | None) -> None:
    assert target_untrusted(dialect, method, path) == Target(dialect, method, path, model)


@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        (Dialect.OPENAI, "/chat/completions/"),
        (Dialect.OPENAI, "//chat/completions"),
        (Dialect.OPENAI, "/chat//completions"),
        (Dialect.OPENAI, "/chat%2Fcompletions"),
        (Dialect.OPENAI, "/./chat/completions"),
        (Dialect.OPENAI, "/../chat/completions"),
        (Dialect.OPENAI, "/chat/completions?"),
        (Dialect.OPENAI, "/chat/completions#x"),
        (Dialect.OPENAI, "/chat/completions\n"),
        (Dialect.OPENAI, "/files"),
        (Dialect.ANTHROPIC, "/v1/messages/batches"),
        (Dialect.ANTHROPIC, "/v1/messages?beta=true"),
        (Dialect.ANTHROPIC, "/chat/completions"),
        (Dialect.GOOGLE, "/v1beta/models/m:generateContent?alt=sse"),
        (Dialect.GOOGLE, "/v1beta/models/m:streamGenerateContent?alt=sse&key=x"),
        (Dialect.GOOGLE, "/v1beta/models/m:batchGenerateContent"),
        (Dialect.GOOGLE, "/v1beta/models/..:generateContent"),
        (Dialect.GOOGLE, "/v1beta/models/a/b:generateContent"),
        (Dialect.GOOGLE, "/v1beta/models/a%2Fb:generateContent"),
        (Dialect.GOOGLE, "/v1beta/models/m:x:generateContent"),
        (Dialect.GOOGLE, "/v1beta/models/:generateContent"),
    ],
)
def test_no_other_spelling_passes(dialect: Dialect, path: str) -> None:
    with pytest.raises(Refusal) as caught:
        target_untrusted(dialect, "POST", path)
    assert (caught.value.status, caught.value.code) == (404, "path")


def test_another_method_is_named_as_such() -> None:
    for method, path in (("GET", "/chat/completions"), ("POST", "/models"), ("DELETE", "/models")):
        with pytest.raises(Refusal) as caught:
            target_untrusted(Dialect.OPENAI, method, path)
        assert caught.value.code == "method"


@given(dialect=st.sampled_from(Dialect), raw=st.text(max_size=60))
def test_any_path_is_matched_or_refused(dialect: Dialect, raw: str) -> None:
    routes = [route for route in ROUTES[dialect] if "{" not in route.path]
    literal = {(r.path + (f"?{q}" if q else "")) for r in routes for q in r.queries}
    try:
        target = target_untrusted(dialect, "GET", raw)
    except Refusal:
        return
    assert target.path == raw and raw in literal
