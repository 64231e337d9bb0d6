"""The shared count of tokens: right, offline, light to import, and safe on hostile text."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ricochet_protocol import tokens
from ricochet_protocol.conversation import Turn, texts_of_turns
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.tokens import count_texts, count_tokens


def test_known_counts() -> None:
    assert count_tokens("") == 0
    assert count_tokens("hello world") == 2
    assert count_tokens("tiktoken is great!") == 6


def test_special_tokens_are_plain_text() -> None:
    assert count_tokens("<|endoftext|>") > 1


def test_a_lone_surrogate_is_counted() -> None:
    assert count_tokens("a\ud800b") >= 3


def test_a_conversation_counts_its_contents() -> None:
    turns = (Turn("system", "hello"), Turn("user", "hello world"))
    assert count_texts(texts_of_turns(turns)) == 3


def test_agrees_with_tiktokens_own_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    import tiktoken

    spec = find_spec("litellm")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "litellm_core_utils" / "tokenizers"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
    official = tiktoken.get_encoding("cl100k_base")
    for text in (
        "It's 12345 o'clock\r\n\r\n  now  ",
        "naïve 日本語 🎉",
        "x" * 5000,
        "def f():\n\t",
    ):
        assert count_tokens(text) == len(official.encode_ordinary(text))


@given(st.text(max_size=400))
def test_never_more_tokens_than_bytes(text: str) -> None:
    assert 0 <= count_tokens(text) <= len(text.encode())


def test_import_reads_and_loads_nothing() -> None:
    code = (
        "import sys, ricochet_protocol.tokens as t; t.count_texts(());"
        "assert 'tiktoken' not in sys.modules and 'litellm' not in sys.modules;"
        "t.count_tokens('x'); assert 'litellm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_damaged_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_SHA256", "0" * 64)
    tokens._encoding.cache_clear()
    try:
        with pytest.raises(LocalFault) as caught:
            count_tokens("x")
    finally:
        tokens._encoding.cache_clear()
    assert caught.value.code == "token_table_missing"
    assert "pip install" in caught.value.hint
