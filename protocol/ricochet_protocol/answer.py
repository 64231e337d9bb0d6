"""An answer as it is put together from the pieces of a stream, the same on both sides.

Text and calls of functions are kept apart; each keeps its own order. A call's first piece names it,
the pieces after it continue its arguments, and a call that has been followed by another is over.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from ricochet_protocol.conversation import ToolCall, texts_of_calls
from ricochet_protocol.errors import garbage
from ricochet_protocol.ids import Hash32
from ricochet_protocol.messages import Ask, CallPiece, Chunk
from ricochet_protocol.receipt import answer_digest
from ricochet_protocol.usage import most_tokens

MAX_CHARS_PER_TOKEN: Final = 64
"""More text than this is not an answer: tokens of prose have about four characters."""


class Answer(msgspec.Struct, frozen=True):
    """What a model said: text, calls of functions, or both."""

    text: str
    calls: tuple[ToolCall, ...] = ()

    @property
    def blank(self) -> bool:
        """Whether there is nothing in it that anybody would pay for."""
        return not self.calls and not self.text.strip()

    def texts(self) -> Iterator[str]:
        """Every text the model wrote: both sides count an answer's tokens over these."""
        yield self.text
        yield from texts_of_calls(self.calls)

    def digest(self) -> Hash32:
        """What a receipt cites."""
        return answer_digest(self.text, self.calls)


def most_characters(ask: Ask) -> int:
    """The longest answer that is still one to `ask`."""
    return most_tokens(ask.max_tokens) * MAX_CHARS_PER_TOKEN


def size_of(piece: Chunk | CallPiece) -> int:
    """The characters in a piece."""
    if isinstance(piece, Chunk):
        return len(piece.text)
    return len(piece.id) + len(piece.name) + len(piece.arguments)


def said(piece: Chunk | CallPiece) -> str:
    """What a piece adds to what the model wrote, as `Answer.texts` has it."""
    return piece.text if isinstance(piece, Chunk) else piece.name + piece.arguments


class AnswerParts:
    """The pieces of one answer so far; `ask` says how long it is and whether it may call."""

    def __init__(self, ask: Ask) -> None:
        self._may_call = bool(ask.tools)
        self._space = most_characters(ask)
        self._text: list[str] = []
        self._calls: list[tuple[CallPiece, list[str]]] = []

    def add_untrusted(self, piece: Chunk | CallPiece) -> None:
        """Take the next piece; RemoteFault `garbage` when it does not follow from the others."""
        # An empty piece counts too: else a stream of them would never end.
        self._space -= max(1, size_of(piece))
        if self._space < 0:
            raise garbage("more than was asked for")
        if isinstance(piece, Chunk):
            self._text.append(piece.text)
        elif not self._may_call:
            raise garbage("a call of a function where none was offered")
        elif piece.index == len(self._calls) and piece.id and piece.name:
            self._calls.append((piece, [piece.arguments]))
        elif piece.index == len(self._calls) - 1 and not piece.id and not piece.name:
            self._calls[-1][1].append(piece.arguments)
        else:
            raise garbage("a piece of a call out of order")

    def whole_untrusted(self) -> Answer:
        """The answer; RemoteFault `garbage` when a call in it is out of bounds."""
        try:
            calls = tuple(
                ToolCall(id=first.id, name=first.name, arguments="".join(arguments))
                for first, arguments in self._calls
            )
        except ValueError:
            raise garbage("a call out of bounds") from None
        return Answer(text="".join(self._text), calls=calls)
