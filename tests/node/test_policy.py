"""The policy table: its parser, its completeness, and that the verdict follows the host."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ricochet_node.origin import parse_origin
from ricochet_node.policy import Policy, Verdict, parse_policy, provider_of, shipped, verdict_of
from ricochet_node.providers import PROVIDERS
from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.sharing import LICENSED


@pytest.mark.parametrize(
    ("origin", "verdict", "provider"),
    [
        ("http://127.0.0.1:8080/v1", Verdict.ALLOW, "127.0.0.1"),
        ("http://localhost:11434/v1", Verdict.ALLOW, "localhost"),
        ("https://192.168.1.9/v1", Verdict.ALLOW, "192.168.1.9"),
        ("https://api.openai.com/v1", Verdict.DENY, "openai"),
        ("https://eu.api.openai.com/v1", Verdict.DENY, "openai"),
        ("https://api.anthropic.com/v1", Verdict.DENY, "anthropic"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", Verdict.DENY, "google"),
        ("https://api.groq.com/openai/v1", Verdict.DENY, "groq"),
        ("https://openrouter.ai/api/v1", Verdict.DENY, "openrouter"),
        ("https://api.mistral.ai/v1", Verdict.UNKNOWN, "mistral"),
        ("https://api.deepseek.com/v1", Verdict.UNKNOWN, "deepseek"),
        ("https://ollama.com/v1", Verdict.UNKNOWN, "ollama.com"),
        ("https://api.example.com/v1", Verdict.UNKNOWN, "api.example.com"),
        ("https://notapi.openai.com.example/v1", Verdict.UNKNOWN, "notapi.openai.com.example"),
    ],
)
def test_verdicts_follow_the_host(origin: str, verdict: Verdict, provider: str) -> None:
    assert verdict_of(parse_origin(origin)) is verdict
    assert provider_of(parse_origin(origin)) == provider


def test_every_provider_that_a_key_can_be_for_is_in_the_table() -> None:
    assert {*PROVIDERS, "groq"} == {terms.provider for terms in shipped().provider}
    for name, row in PROVIDERS.items():
        terms = shipped().named(name)
        assert terms is not None and terms.clause and terms.reviewed_at.year >= 2026
        if row.origin.startswith("https:"):
            assert provider_of(parse_origin(row.origin)) == name
            assert terms.url.startswith("https://")


def test_peers_believe_a_licence_exactly_of_the_hosted_providers_that_the_table_allows() -> None:
    allowed = {
        terms.provider
        for terms in shipped().provider
        if terms.hosts and terms.verdict is Verdict.ALLOW
    }
    assert allowed == LICENSED


ENTRY: dict[str, Any] = {
    "provider": "a-provider",
    "hosts": ["api.example.com"],
    "verdict": "deny",
    "clause": "No resale.",
    "url": "https://example.com/terms",
    "reviewed_at": "2026-11-24",
}


def toml(*entries: dict[str, Any], version: object = 1) -> bytes:
    lines = [f"version = {version}"]
    for entry in entries:
        lines.append("[[provider]]")
        lines += [
            f"{name} = {value if name == 'reviewed_at' else repr(value)}"
            for name, value in entry.items()
        ]
    return "\n".join(lines).encode()


def test_a_table_is_read() -> None:
    (terms,) = parse_policy(toml(ENTRY)).provider
    assert (terms.provider, terms.verdict) == ("a-provider", Verdict.DENY)
    assert str(terms.reviewed_at) == "2026-11-24"


WRONG: dict[str, bytes] = {
    "not TOML": b"version =",
    "not UTF-8": b"\xff",
    "no version": toml(ENTRY).replace(b"version = 1\n", b""),
    "version 0": toml(ENTRY, version=0),
    "a provider twice": toml(ENTRY, ENTRY | {"hosts": []}),
    "a host twice": toml(ENTRY, ENTRY | {"provider": "another"}),
    "an unknown field": toml(ENTRY | {"verdikt": "deny"}),
    "another verdict": toml(ENTRY | {"verdict": "maybe"}),
    "unknown without a note": toml(ENTRY | {"verdict": "unknown"}),
    "no clause": toml(ENTRY | {"clause": ""}),
    "a clause that controls a terminal": toml(ENTRY).replace(b"'No resale.'", b'"\\u001b[2J"'),
    "plain http": toml(ENTRY | {"url": "http://example.com"}),
    "a host without its terms": toml(ENTRY | {"url": ""}),
    "a host in capitals": toml(ENTRY | {"hosts": ["API.example.com"]}),
    "a bare name as host": toml(ENTRY | {"hosts": ["com"]}),
    "a provider in capitals": toml(ENTRY | {"provider": "OpenAI"}),
    "no date": toml(ENTRY | {"reviewed_at": "'yesterday'"}),
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_table_is_refused_as_a_whole(text: bytes) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(text)
    assert caught.value.code == "bad_policy" and caught.value.hint


hosts = st.lists(st.sampled_from(["a.io", "b.io", "c.io", "d.a.io"]), max_size=2)
verdicts = st.sampled_from(list(Verdict))
entries = st.tuples(st.sampled_from("abcd"), hosts, verdicts, st.sampled_from(["", "note"]))


@settings(max_examples=40)
@given(st.lists(entries, max_size=3))
def test_what_is_read_is_what_was_written_or_nothing(
    rows: list[tuple[str, list[str], Verdict, str]],
) -> None:
    tables = [
        ENTRY | {"provider": name, "hosts": names, "verdict": str(verdict), "note": note}
        for name, names, verdict, note in rows
    ]
    everywhere = [host for _, names, _, _ in rows for host in names]
    unique = len({row[0] for row in rows}) == len(rows) and len({*everywhere}) == len(everywhere)
    noted = all(note or verdict is not Verdict.UNKNOWN for _, _, verdict, note in rows)
    if not tables or not (unique and noted):
        with pytest.raises(ConfigurationError):
            parse_policy(toml(*tables))
        return
    read = parse_policy(toml(*tables))
    for name, names, verdict, _ in rows:
        for host in names:
            found = read.of_host(host)
            assert read.of_host(f"below.{host}") == found
            assert found is not None and (found.provider, found.verdict) == (name, verdict)


@settings(max_examples=40)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_other_bytes_are_refused_clearly(junk: bytes) -> None:
    for text in (junk, toml(ENTRY) + b"\n" + junk):
        try:
            assert isinstance(parse_policy(text), Policy)
        except ConfigurationError as error:
            assert error.code == "bad_policy"
