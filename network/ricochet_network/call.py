"""The life of one call: which frame may come when, and how many bytes.

A call belongs to the side that made it. The table below is the whole protocol: a frame that finds
no entry for its call's state is a violation, and so are bytes beyond the window, a message beyond
`MAX_MESSAGE`, an empty fragment and a credit for bytes never sent. The callee always answers a
call's last state with `End` or `Fail`, also after `Cancel`; until then the caller keeps the id, so
both sides agree on how many calls are open.

    caller   WAITING  --we leave early, Cancel sent-->  LEAVING      both until End or Fail
    callee   ABSENT --first Data--> ASSEMBLING --last Data--> SERVING --End or Fail sent--> ENDED
             SERVING --Cancel--> STOPPING (the handler is being closed) --End sent--> ENDED
             ASSEMBLING --Cancel, End sent--> ENDED;  ENDED still takes what crossed on the wire
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from ricochet_protocol.errors import garbage
from ricochet_protocol.mux import (
    MAX_MESSAGE,
    WINDOW,
    Cancel,
    Credit,
    Data,
    End,
    Fail,
    Frame,
)

CallFrame = Data | End | Fail | Cancel | Credit
CREDIT_STEP: Final = WINDOW // 2
"""Consumed bytes that are worth a Credit frame; small chunks would otherwise cost one each."""


class State(Enum):
    """Where a call is; see the module's text."""

    WAITING = auto()
    LEAVING = auto()
    ABSENT = auto()
    ASSEMBLING = auto()
    SERVING = auto()
    STOPPING = auto()
    ENDED = auto()


ON_FRAME: Final[Mapping[tuple[State, type[Frame]], State]] = {
    (State.WAITING, Data): State.WAITING,
    (State.WAITING, Credit): State.WAITING,
    (State.WAITING, End): State.ENDED,
    (State.WAITING, Fail): State.ENDED,
    (State.LEAVING, Data): State.LEAVING,
    (State.LEAVING, Credit): State.LEAVING,
    (State.LEAVING, End): State.ENDED,
    (State.LEAVING, Fail): State.ENDED,
    (State.ABSENT, Data): State.ASSEMBLING,
    (State.ASSEMBLING, Data): State.ASSEMBLING,
    (State.ASSEMBLING, Cancel): State.ENDED,
    (State.SERVING, Credit): State.SERVING,
    (State.SERVING, Cancel): State.STOPPING,
    (State.STOPPING, Credit): State.STOPPING,
    (State.ENDED, Credit): State.ENDED,
    (State.ENDED, Cancel): State.ENDED,
}
"""What a peer's frame does to its call; anything else is a violation."""


class Call:
    """One call on either side: its state, what has arrived of it, and the credit of both ways."""

    def __init__(self, call_id: int, state: State) -> None:
        self.id = call_id
        self.state = state
        self.sendable = WINDOW
        self.ending: End | Fail = End(call_id)
        self.task: asyncio.Task[None] | None = None
        self.messages: deque[bytes] = deque()
        self._waiting = 0
        self._partial = bytearray()
        self._uncredited = 0
        self.changed = asyncio.Event()

    def take_untrusted(self, data: Data) -> None:
        """Add a fragment; RemoteFault when it breaks a bound."""
        self._uncredited += len(data.body)
        if not data.body:
            raise garbage("an empty fragment")
        if self._uncredited > WINDOW:
            raise garbage("more bytes than its credit")
        if len(self._partial) + len(data.body) > MAX_MESSAGE:
            raise garbage("a message above the limit")
        self._partial += data.body
        if not data.more:
            self.messages.append(bytes(self._partial))
            self._waiting += len(self._partial)
            self._partial.clear()

    def take_message(self) -> bytes:
        """The oldest complete message; there must be one."""
        message = self.messages.popleft()
        self._waiting -= len(message)
        return message

    def take_credit(self) -> int:
        """Bytes to return to the sender now, 0 when too few to be worth a frame.

        Uncredited bytes are the last ones received. Those of complete messages that wait, and of
        what arrives behind them, stay uncredited; a message that nothing waits before does not.
        """
        held = self._waiting + len(self._partial) if self.messages else 0
        amount = self._uncredited - held
        if amount < CREDIT_STEP:
            return 0
        self._uncredited -= amount
        return amount

    def credit_untrusted(self, credit: Credit) -> None:
        """Widen what may be sent; RemoteFault when it was never sent."""
        self.sendable += credit.bytes
        if self.sendable > WINDOW:
            raise garbage("a credit for bytes it never got")

    def notify(self) -> None:
        """Wake whoever waits for this call to change."""
        self.changed.set()
        self.changed = asyncio.Event()
