"""The sharing policy: self-hosted may be sold, known and unknown hosts may not."""

import pytest

from ricochet_node.keystore import KeyInfo
from ricochet_node.origin import parse_origin
from ricochet_node.policy import Verdict, check_sharing, terms_of, verdict_of
from ricochet_protocol.errors import ConfigurationError


@pytest.mark.parametrize(
    ("origin", "verdict"),
    [
        ("http://127.0.0.1:8080/v1", Verdict.ALLOW),
        ("http://localhost:11434/v1", Verdict.ALLOW),
        ("https://192.168.1.9/v1", Verdict.ALLOW),
        ("https://api.openai.com/v1", Verdict.DENY),
        ("https://eu.api.openai.com/v1", Verdict.DENY),
        ("https://api.anthropic.com/v1", Verdict.DENY),
        ("https://generativelanguage.googleapis.com/v1beta/openai", Verdict.DENY),
        ("https://api.groq.com/openai/v1", Verdict.DENY),
        ("https://openrouter.ai/api/v1", Verdict.DENY),
        ("https://api.example.com/v1", Verdict.UNKNOWN),
        ("https://notapi.openai.com.example/v1", Verdict.UNKNOWN),
    ],
)
def test_verdicts_follow_the_host(origin: str, verdict: Verdict) -> None:
    assert verdict_of(parse_origin(origin)) is verdict


def test_every_entry_can_be_looked_up() -> None:
    terms = terms_of(parse_origin("https://api.openai.com/v1"))
    assert terms is not None
    assert terms.url.startswith("https://") and terms.clause and terms.reviewed_at.year >= 2026


def test_a_denied_provider_is_named_with_clause_and_url() -> None:
    key = KeyInfo("mine", "self-made-name", "https://api.openai.com/v1", "abcd")
    with pytest.raises(ConfigurationError) as caught:
        check_sharing([key])
    assert caught.value.code == "sharing_deny"
    assert "OpenAI" in caught.value.message and "Services Agreement" in caught.value.message
    assert "https://openai.com/" in caught.value.hint


def test_an_unknown_provider_is_refused_with_what_would_help() -> None:
    key = KeyInfo("mine", "x", "https://api.example.com/v1", "abcd")
    with pytest.raises(ConfigurationError) as caught:
        check_sharing([key])
    assert caught.value.code == "sharing_unknown"
    assert "api.example.com" in caught.value.message
    assert "written permission" in caught.value.hint


def test_self_hosted_keys_pass() -> None:
    check_sharing([KeyInfo("local", "x", "http://127.0.0.1:8080/v1", "abcd")])
