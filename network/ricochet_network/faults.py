"""How a failed call travels: an exception becomes a `Fail` frame, a `Fail` frame a RemoteFault.

Only what a `RicochetError` says of itself leaves this process; anything else is a defect of ours,
logged by type and told to the peer as `internal`. What a peer says is cut to size and stripped of
control characters, because it ends up on a person's terminal.
"""

import logging
from typing import Final

from ricochet_protocol.errors import REMOTE_CODES, RemoteCode, RemoteFault, RicochetError
from ricochet_protocol.mux import MAX_WAIT, Fail

MAX_TEXT: Final = 500
_log = logging.getLogger(__name__)


def fail_of(call_id: int, error: Exception) -> Fail:
    """The frame that ends a call whose handler raised `error`."""
    if isinstance(error, RicochetError):
        wait = min(error.wait, MAX_WAIT) if isinstance(error, RemoteFault) else 0
        return Fail(call_id, error.code, error.message[:MAX_TEXT], error.hint[:MAX_TEXT], wait)
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    line = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else "unknown place"
    _log.error("a handler failed with %s at %s", type(error).__name__, line)
    return Fail(call_id, RemoteCode.INTERNAL, "the peer failed inside", "try another peer")


def fault_untrusted(fail: Fail) -> RemoteFault:
    """What a peer's `Fail` says; codes we do not know read as `internal`."""
    code = fail.code if fail.code in REMOTE_CODES else RemoteCode.INTERNAL
    return RemoteFault(code, _printable(fail.message), _printable(fail.hint), fail.wait)


def _printable(text: str) -> str:
    return "".join(char for char in text[:MAX_TEXT] if char.isprintable())
