"""Redaction: what is found and what is left alone, and that nothing is lost on the way back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_orchestrator.personal_data import Finder, Kind
from ricochet_orchestrator.redaction import redact, restore, source_span
from ricochet_protocol.errors import UsageError

KEY = bytes(range(32))
FINDER = Finder(terms=("Ada Lovelace", "Müller", "C++"), region="DE")


def found(text: str, finder: Finder = FINDER) -> list[tuple[str, str]]:
    return [(one.kind.value, text[one.start : one.end]) for one in finder.find(text)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "ada.lovelace+x@mail.example.org"),
        ("email", "jürgen@müller.de"),
        ("phone", "+49 30 901820"),
        ("phone", "030 901820"),
        ("phone", "+1 (650) 253-0000"),
        ("iban", "DE89 3704 0044 0532 0130 00"),
        ("iban", "GB29NWBK60161331926819"),
        ("card", "4111 1111 1111 1111"),
        ("card", "5500-0000-0000-0004"),
        ("ip", "192.168.178.21"),
        ("ip", "2001:db8::8a2e:370:7334"),
        ("secret", "sk-proj-abcdefghijklmnopqrstuvwx"),
        ("secret", "AKIAIOSFODNN7EXAMPLE"),
        ("secret", "ghp_" + "a1B2" * 9),
        ("secret", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"),
        ("term", "ada lovelace"),
        ("term", "MÜLLER"),
        ("term", "C++"),
    ],
)
def test_what_is_found(kind: str, value: str) -> None:
    assert found(f"See {value}, please.") == [(kind, value)]


def test_the_password_of_an_address_is_found_and_its_host_is_not() -> None:
    assert found("at https://ada:pw-1@example.org/x") == [("secret", "ada:pw-1")]


def test_capitals_after_an_iban_are_no_part_of_it() -> None:
    assert found("IBAN DE89370400440532013000 BIC") == [("iban", "DE89370400440532013000")]


@pytest.mark.parametrize(
    "text",
    [
        "version 1.2.3 of 10.5.300.1 and section 3.1.4.1.5",
        "4111 1111 1111 1112 fails its check digit, 0000 0000 0000 0000 is no card",
        "DE89 3704 0044 0532 0130 01 fails too",
        "@decorator and a @ b.c",
        "C:: and std::vector<int>::iterator, a::b, 12:30:45",
        "Müllers Lovelace, Adam Lovelace",
        "2026-11-25 and 3.14159265358979",
    ],
)
def test_what_is_left_alone(text: str) -> None:
    assert found(text) == []


def test_only_the_kinds_that_are_wanted_are_found() -> None:
    assert found("a@b.org +49 30 901820", Finder([Kind.EMAIL])) == [("email", "a@b.org")]


def test_without_a_region_only_international_numbers_are_found() -> None:
    assert found("030 901820 or +49 30 901820", Finder()) == [("phone", "+49 30 901820")]


def test_the_same_value_has_the_same_placeholder_and_only_under_the_same_key() -> None:
    first = redact("a@b.org wrote", FINDER, KEY)
    second = redact("Later a@b.org answered c@d.org", FINDER, KEY)
    assert first.values.items() < second.values.items()
    assert len(second.values) == 2
    assert redact("a@b.org wrote", FINDER, bytes(32)).values.keys() != first.values.keys()


def test_an_answer_that_names_a_placeholder_gets_the_value() -> None:
    redacted = redact("Write to a@b.org.", FINDER, KEY)
    (placeholder,) = redacted.values
    assert "a@b.org" not in redacted.text
    assert restore(f"Ask {placeholder}, not [EMAIL_000000000000].", redacted.values) == (
        "Ask a@b.org, not [EMAIL_000000000000]."
    )


PIECES = st.sampled_from(
    ["a@b.org", "+49 30 901820", "4111 1111 1111 1111", "10.0.0.1", "Müller", "C++", "[EMAIL_1]"]
)
TEXTS = st.lists(PIECES | st.text(max_size=12), max_size=12).map(" ".join)


@given(TEXTS)
def test_nothing_is_lost(text: str) -> None:
    redacted = redact(text, FINDER, KEY)
    assert restore(redacted.text, redacted.values) == text


@given(TEXTS, st.data())
def test_spans_lead_back_to_the_source(text: str, data: st.DataObject) -> None:
    redacted = redact(text, FINDER, KEY)
    start = data.draw(st.integers(0, len(redacted.text)))
    end = data.draw(st.integers(start, len(redacted.text)))
    first, last = source_span(redacted.cuts, start, end)
    assert 0 <= first <= last <= len(text)
    inside = restore(redacted.text[start:end], redacted.values)
    # Whole placeholders and plain text lead to exactly their source.
    if not any(cut.at < at < cut.until for cut in redacted.cuts for at in (start, end)):
        assert text[first:last] == inside
    assert source_span(redacted.cuts, 0, len(redacted.text)) == (0, len(text))


@pytest.mark.parametrize(
    "wrong",
    [{"region": "XX"}, {"terms": ["x" * 201]}, {"terms": [str(n) for n in range(10_001)]}],
)
def test_settings_that_cannot_be_used_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        Finder(**wrong)  # type: ignore[arg-type]  # on purpose
    assert caught.value.code == "bad_redaction"
