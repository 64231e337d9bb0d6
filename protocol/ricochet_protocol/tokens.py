"""Both sides' own count of tokens: cl100k, whatever tokenizer the provider uses.

A count is a rule that buyer and seller share (`usage.py` compares a node's bill with it), so it is
here, once. This module carries the one exception to the package's rule against input and output:
on the first count it reads the vocabulary that litellm's wheel carries, data of an installed
package. It is built by hand from that file because `tiktoken.get_encoding` downloads what it does
not find.
"""

import hashlib
from base64 import b64decode
from collections.abc import Callable, Iterable
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from ricochet_protocol.errors import LocalFault

if TYPE_CHECKING:
    from tiktoken import Encoding

# File name (SHA-1 of the table's public address), hash and pattern: tiktoken_ext/openai_public.py.
_TABLE: Final = "litellm_core_utils/tokenizers/9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
_SHA256: Final = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
_PATTERN: Final = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
_LONGEST_TAIL: Final = 512
"""Characters; counting so many takes a tenth of a millisecond."""


def count_tokens(text: str) -> int:
    """Tokens of `text`; about 0.4 s per million characters, the first call 0.2 s more.

    Text that looks like a special token counts as the characters it is. LocalFault
    `token_table_missing` when the vocabulary is not installed.
    """
    return len(_encoding().encode_ordinary(text))


def count_texts(texts: Iterable[str]) -> int:
    """Tokens of a prompt (`Ask.texts`) or an answer (`Answer.texts`): the sum over its texts.

    What a provider puts around them, such as a chat template, is the tolerance's part.
    """
    return sum(map(count_tokens, texts))


class RunningCount:
    """The count of a text that grows, at a price that does not grow with it.

    Words are counted once: what comes after a space is cut from what stands before it as the
    tokenizer itself would. Text without spaces is cut at `_LONGEST_TAIL`: a token or so too many.
    """

    def __init__(self, count: Callable[[str], int] = count_tokens) -> None:
        self._count = count
        self._settled = 0
        self._tail = ""

    def add(self, text: str) -> int:
        """The count of everything added so far."""
        self._tail += text
        cut = _last_word(self._tail) or len(self._tail) // _LONGEST_TAIL * _LONGEST_TAIL
        if cut:
            self._settled += self._count(self._tail[:cut])
            self._tail = self._tail[cut:]
        return self._settled + self._count(self._tail)


def _last_word(text: str) -> int:
    """Where the last space after something else stands, 0 for nowhere."""
    at = text.rfind(" ")
    while at > 0 and text[at - 1].isspace():
        at -= 1
    return at if at > 0 and text[at] == " " else 0


@cache
def _encoding() -> "Encoding":
    import tiktoken

    ranks = {b64decode(token): int(rank) for token, rank in map(bytes.split, _table().splitlines())}
    return tiktoken.Encoding(
        "cl100k_base", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens={}
    )


def _table() -> bytes:
    # find_spec locates a top-level package without importing it: litellm costs four seconds.
    spec = find_spec("litellm")
    data = b""
    if spec is not None and isinstance(spec.loader, SourceFileLoader):
        folder = (spec.submodule_search_locations or [""])[0]
        try:
            data = spec.loader.get_data(f"{folder}/{_TABLE}")
        except OSError:
            data = b""
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise LocalFault(
            "token_table_missing",
            "the vocabulary for counting tokens is missing or damaged",
            "install again: pip install --force-reinstall litellm==1.106.2",
        )
    return data
