"""Origins: what may be an address of a provider, and what would leak a key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_node.origin import parse_origin
from ricochet_protocol.errors import UsageError


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("https://API.OpenAI.com/v1/", "https://api.openai.com/v1"),
        (" https://api.groq.com/openai/v1", "https://api.groq.com/openai/v1"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost:11434/v1", "http://localhost:11434/v1"),
        ("https://10.0.0.7:8000/v1", "https://10.0.0.7:8000/v1"),
    ],
)
def test_good_origins_have_one_spelling(text: str, spelling: str) -> None:
    assert parse_origin(text).text == spelling
    assert parse_origin(spelling).text == spelling


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.openai.com",
        "ftp://api.openai.com",
        "http://api.openai.com/v1",
        "http://10.0.0.7:8000/v1",
        "http://localhost.evil.example/v1",
        "http://127.0.0.1.evil.example/v1",
        "https://user:word@api.openai.com/v1",
        "https://api.openai.com@evil.example/v1",
        "https://api.openai.com/v1?x=1",
        "https://api.openai.com/v1#x",
        "https://api.openai.com/../v1",
        "https://api.openai.com/v1 x",
        "https://api.openai.com:99999/v1",
        "https://аpi.openai.com/v1",  # noqa: RUF001 - a Cyrillic a, as an attacker would write it
        "https://evil.example\\@api.openai.com/v1",
        "https://[::1/v1",
        "https:///v1",
    ],
)
def test_bad_origins_are_refused_with_the_next_step(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_origin(text)
    assert caught.value.code == "bad_origin"
    assert "https://" in caught.value.hint


def test_where_an_origin_lies() -> None:
    assert parse_origin("http://127.0.0.1:1/v1").is_loopback
    assert parse_origin("https://192.168.1.5/v1").is_private
    assert not parse_origin("https://192.168.1.5/v1").is_loopback
    assert not parse_origin("https://8.8.8.8/v1").is_private
    assert not parse_origin("https://api.openai.com/v1").is_private


@given(st.text(max_size=80) | st.text(max_size=60).map("https://a.example/".__add__))
def test_any_text_is_an_origin_or_a_usage_error(text: str) -> None:
    try:
        origin = parse_origin(text)
    except UsageError:
        return
    assert parse_origin(origin.text) == origin
