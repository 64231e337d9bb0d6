"""How the node calls a provider: the port, and how an answer ends.

Pieces of text and calls come first, then exactly one `Usage`: an answer without it did not end well
and is never billed. Everything that goes wrong is a `ProviderFault`.
"""

from collections.abc import AsyncGenerator
from typing import Final, Literal, Protocol

import msgspec

from ricochet_node.call_order import CallDelta, CallOrder, TooManyCalls
from ricochet_node.faults import ProviderFault, Reason, broken
from ricochet_protocol.messages import Ask, CallPiece, Chunk

FIRST_BYTE_SECONDS: Final = 300
"""A provider may think before its first token; a call's own deadline is usually shorter."""
IDLE_SECONDS: Final = 60
"""Between two signs of life after the first: providers ping more often than that."""

Finish = Literal["stop", "length", "tool_calls"]


class Usage(msgspec.Struct, frozen=True):
    """How an answer ended; `tokens` are the provider's own (in, out), None when it gave none."""

    finish: Finish
    tokens: tuple[int, int] | None


Piece = Chunk | CallPiece | Usage


class Whole(msgspec.Struct, frozen=True):
    """An answer that came at once: its pieces in order, and its end."""

    pieces: tuple[Chunk | CallPiece, ...]
    usage: Usage


class Upstream(Protocol):
    """A provider, or several, behind the vault."""

    def stream(self, key_id: str, model: str, ask: Ask) -> AsyncGenerator[Piece, None]:
        """Pieces, then one Usage; ProviderFault. Closing the iterator ends the provider's call."""

    async def whole(self, key_id: str, model: str, ask: Ask) -> Whole:
        """The same for whom nobody waits before its end, which costs both sides less."""


class Ending:
    """What a provider's stream has said of its end so far, whoever parsed it."""

    def __init__(self) -> None:
        self.finish = ""
        self.tokens: tuple[int, int] | None = None
        self._order = CallOrder()

    def call(self, delta: CallDelta) -> CallPiece:
        """The protocol's piece of a call; ProviderFault when calls cannot be told apart."""
        try:
            return self._order.piece(delta)
        except TooManyCalls:
            raise broken("calls of functions that cannot be told apart") from None

    def tell(self, fault: ProviderFault) -> None:
        """Let a fault of this answer say what the provider had reported before it."""
        fault.tokens = fault.tokens or self._reported

    @property
    def _reported(self) -> tuple[int, int] | None:
        # Zero stands for "I did not count" at several providers.
        return self.tokens if self.tokens and all(self.tokens) else None

    def usage(self) -> Usage:
        """The last piece; ProviderFault when the answer did not end, or was withheld."""
        match self.finish:
            case "":
                raise broken("an answer that breaks off")
            case "content_filter":
                raise ProviderFault(Reason.FILTERED)
            case "length" | "tool_calls":
                finish: Finish = self.finish
            case _:
                finish = "stop"
        return Usage(finish=finish, tokens=self._reported)
