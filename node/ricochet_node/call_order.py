"""Brings the calls of functions in a provider's stream into the order of the protocol.

OpenAI numbers calls and names each once. Its imitators send a whole call in one piece, repeat id
and name, leave ids out, or number every call 0. What all have in common is kept: a piece with
another id, number or name than the last one's begins a call, any other piece continues it. Calls
whose pieces alternate cannot be told apart from that, and no provider is known to send them.
"""

import msgspec

from ricochet_protocol.conversation import MAX_CALLS
from ricochet_protocol.messages import CallPiece


class CallDelta(msgspec.Struct, frozen=True):
    """A piece of a call as the provider sent it."""

    number: int = 0
    id: str = ""
    name: str = ""
    arguments: str = ""


class TooManyCalls(Exception):
    """The provider calls more functions, or calls them otherwise, than the protocol can carry."""


class CallOrder:
    """Numbers the calls of one answer."""

    def __init__(self) -> None:
        self._count = 0
        self._last = CallDelta(number=-1)

    def piece(self, delta: CallDelta) -> CallPiece:
        """The protocol's piece for the provider's next one; TooManyCalls."""
        if delta.name and self._is_new(delta):
            self._count += 1
            if self._count > MAX_CALLS:
                raise TooManyCalls
            self._last = delta
            id_ = delta.id or f"call_{self._count}"
            return CallPiece(self._count - 1, id_, delta.name, delta.arguments)
        if not self._count or delta.number != self._last.number:
            raise TooManyCalls
        return CallPiece(self._count - 1, "", "", delta.arguments)

    def _is_new(self, delta: CallDelta) -> bool:
        last = self._last
        return delta.number != last.number or (bool(delta.id) and delta.id != last.id)
