"""The redactor: no cut of the stream lets the secret through, and nothing else changes."""

from hypothesis import given
from hypothesis import strategies as st

from ricochet_node.redact import MASK, Redactor

SECRET = b"abab-secret"


@given(
    parts=st.lists(st.sampled_from([SECRET, b"ab", b"abab-", b"x", b"abab-secre"]), max_size=8),
    cuts=st.lists(st.integers(1, 7), max_size=20),
)
def test_every_cut_gives_the_redacted_whole(parts: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(parts)
    redactor = Redactor(SECRET)
    out, rest = b"", whole
    for cut in cuts:
        out += redactor.feed(rest[:cut])
        rest = rest[cut:]
    out += redactor.feed(rest) + redactor.rest()
    assert out == whole.replace(SECRET, MASK)


def test_ordinary_text_is_never_held_back() -> None:
    assert Redactor(SECRET).feed(b"hello") == b"hello"


def test_without_a_secret_everything_passes() -> None:
    redactor = Redactor(b"")
    assert redactor.feed(b"all of it") + redactor.rest() == b"all of it"
