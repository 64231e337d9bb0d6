"""Finds what a person may not want to send: numbers, addresses and credentials, by their form.

    text ──► candidates of each kind ──► checked ──► of those that overlap, leftmost then longest

Candidates come from plain patterns that run in linear time; what has a check digit or a numbering
plan is then checked by a maintained library, so that version numbers and quantities stay as they
are. Names, addresses of houses and dates of birth have no form of their own and are not found: a
list of terms is for those that one knows of.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from ricochet_protocol.errors import UsageError

MAX_TERMS: Final = 10_000
MAX_TERM: Final = 200
"""Characters of one term."""


class Kind(StrEnum):
    """What was found; the upper-case form is the placeholder's name."""

    EMAIL = "email"
    PHONE = "phone"
    IBAN = "iban"
    CARD = "card"
    IP = "ip"
    SECRET = "secret"  # noqa: S105 - the kind's name
    TERM = "term"


class Found(msgspec.Struct, frozen=True, order=True):
    """`text[start:end]` is of this kind; offsets in characters."""

    start: int
    end: int
    kind: Kind


class Finder:
    """Finds the given kinds, and each of `terms` as a whole word whatever its case.

    `region` is the country whose phone numbers may stand without a prefix, such as `DE`; without
    one only international numbers are found.
    """

    def __init__(
        self,
        kinds: Iterable[Kind] = tuple(Kind),
        terms: Sequence[str] = (),
        region: str | None = None,
    ) -> None:
        """UsageError `bad_redaction` for a region or terms that cannot be used."""
        self._kinds = frozenset(kinds)
        self._terms = _any_of(terms)
        self._region = _checked_region(region)

    def find(self, text: str) -> tuple[Found, ...]:
        """What is in `text`, in order, without overlaps."""
        candidates = sorted(self._candidates(text), key=lambda one: (one.start, -one.end))
        chosen: list[Found] = []
        for one in candidates:
            if not chosen or one.start >= chosen[-1].end:
                chosen.append(one)
        return tuple(chosen)

    def _candidates(self, text: str) -> Iterator[Found]:
        for kind, pattern in _PATTERNS:
            if kind in self._kinds:
                for match in pattern.finditer(text):
                    yield from _checked(kind, match)
        if Kind.PHONE in self._kinds:
            yield from _phones(text, self._region)
        if self._terms is not None:
            for match in self._terms.finditer(text):
                yield Found(match.start(), match.end(), Kind.TERM)


_PATTERNS: Final = (
    (Kind.EMAIL, re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}\b")),
    (Kind.IBAN, re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b")),
    (Kind.CARD, re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])")),
    (Kind.IP, re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]*\d)")),
    (Kind.IP, re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")),
    (
        Kind.SECRET,
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]{1,20000}"
            r"-----END [A-Z ]{0,40}PRIVATE KEY-----"
            r"|\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,200}"
            r"|\bAKIA[0-9A-Z]{16}\b|\bgh[opsur]_[A-Za-z0-9]{36,255}\b|\bxox[abprs]-[\w-]{10,250}"
            r"|\bAIza[\w-]{35}|\beyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,2000}"
            r"|(?<=://)[^\s/:@]{1,100}:[^\s/@]{1,200}(?=@)"
        ),
    ),
)
"""Bounded repetitions, so that no text makes a pattern slow."""


def _checked(kind: Kind, match: re.Match[str]) -> Iterator[Found]:
    start, text = match.start(), match[0]
    match kind:
        case Kind.IBAN:
            length = _iban_length(text)
        case Kind.CARD:
            from stdnum import luhn

            digits = re.sub(r"[ -]", "", text)
            length = len(text) if luhn.is_valid(digits) and len(set(digits)) > 1 else 0
        case Kind.IP:
            length = len(text) if _is_address(text) else 0
        case _:
            length = len(text)
    if length:
        yield Found(start, start + length, kind)


def _iban_length(text: str) -> int:
    """How much of a candidate is an IBAN: words in capitals may follow one."""
    from stdnum import iban

    ends = [at for at in range(len(text), 14, -1) if text[at - 1] != " "]
    return next((at for at in ends if iban.is_valid(text[:at])), 0)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    # Names of code such as `abc::fed` are addresses too, by their form.
    groups = [group for group in text.split(":") if group]
    return "." in text or (len(groups) > 1 and any(letter.isdigit() for letter in text))


def _phones(text: str, region: str | None) -> Iterator[Found]:
    from phonenumbers import PhoneNumberMatcher

    # Its default gives up after 65,535 tries without a word.
    for match in PhoneNumberMatcher(text, region, max_tries=len(text) + 1):
        yield Found(match.start, match.end, Kind.PHONE)


def _checked_region(region: str | None) -> str | None:
    if region is None:
        return None
    from phonenumbers import SUPPORTED_REGIONS

    if region.upper() not in SUPPORTED_REGIONS:
        raise _bad(f"{region!r} is no region of phone numbers", "Give two letters, such as DE.")
    return region.upper()


def _any_of(terms: Sequence[str]) -> "re.Pattern[str] | None":
    wanted = sorted({term.strip() for term in terms} - {""}, key=lambda term: (-len(term), term))
    if not wanted:
        return None
    if len(wanted) > MAX_TERMS or len(wanted[0]) > MAX_TERM:
        raise _bad(
            "there are too many terms, or one is too long",
            f"At most {MAX_TERMS:,} terms of {MAX_TERM} characters.",
        )
    words = "|".join(rf"{_edge(term[0])}{re.escape(term)}{_end(term[-1])}" for term in wanted)
    return re.compile(words, re.IGNORECASE)


def _edge(letter: str) -> str:
    return r"(?<!\w)" if letter.isalnum() else ""


def _end(letter: str) -> str:
    return r"(?!\w)" if letter.isalnum() else ""


def _bad(problem: str, hint: str) -> UsageError:
    return UsageError("bad_redaction", f"{problem}.", hint)
