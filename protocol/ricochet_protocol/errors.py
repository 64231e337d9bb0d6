"""What can go wrong, who is to blame, and what the reader does next.

Every error a person may see is a `RicochetError`: a stable `code`, a message that says what
happened, a `hint` that says what to do, and the exit code the command ends with. Blame decides
retries: `RemoteFault` is a peer's doing and is routed around; everything else is ours.
"""

from enum import IntEnum
from typing import Any, ClassVar


class ExitCode(IntEnum):
    """Exit codes of every command; `ricochet --help` and the README list them."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    CONFIGURATION = 3
    BUDGET = 4
    PARTIAL = 5
    INTERRUPTED = 130


class RicochetError(Exception):
    """Base of all errors shown to a person; `code` is stable, `hint` names the next step."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILURE
    retryable: ClassVar[bool] = False

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message, self.hint)


class LocalFault(RicochetError):
    """Something here failed (disk, port, process); the message says which."""


class UsageError(RicochetError):
    """The command was given something it cannot use; fix the argument and run it again."""

    exit_code = ExitCode.USAGE


class ConfigurationError(RicochetError):
    """Settings, keys or authentication are missing or wrong; the hint names the command."""

    exit_code = ExitCode.CONFIGURATION


class BudgetError(RicochetError):
    """Money is missing: no subscription, an exhausted budget, or an unfunded wallet."""

    exit_code = ExitCode.BUDGET


class ChainError(RicochetError):
    """The chain refused or cannot be reached; nothing was paid twice, and a retry may help."""

    retryable = True


class RemoteFault(RicochetError):
    """A peer failed, lied or vanished. Route around it; `code` is one of `RemoteCode`.

    `wait` are the seconds for which the peer wants not to be asked again, 0 when it did not say.
    """

    retryable = True

    def __init__(self, code: str, message: str, hint: str = "", wait: int = 0) -> None:
        super().__init__(code, message, hint)
        self.wait = wait

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.message, self.hint, self.wait)


class RemoteCode:
    """Codes that cross the wire in an `Error` message. Unknown ones read as `INTERNAL`."""

    UNREACHABLE = "unreachable"
    DISCONNECTED = "disconnected"
    TIMEOUT = "timeout"
    GARBAGE = "garbage"
    REFUSED = "refused"
    BUSY = "busy"
    NO_SESSION = "no_session"
    NO_MODEL = "no_model"
    PAYMENT_REQUIRED = "payment_required"
    CONFLICT = "conflict"
    TOO_LONG = "too_long"
    UPSTREAM_AUTH = "upstream_auth"
    UPSTREAM = "upstream"
    INTERNAL = "internal"


REMOTE_CODES = frozenset(
    value for name, value in vars(RemoteCode).items() if not name.startswith("_")
)


def garbage(what: str) -> RemoteFault:
    """The error for peer bytes that do not parse; `what` names the part, never its content."""
    return RemoteFault(RemoteCode.GARBAGE, f"peer sent {what}")
