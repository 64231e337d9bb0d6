"""Removes a secret from a stream of bytes, however the stream is cut.

Only a tail that could be the beginning of the secret is held back, so text flows on at once.
"""

from typing import Final

MASK: Final = b"[redacted]"


class Redactor:
    """Feeds through everything but the secret; all of it when the secret is empty."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._tail = b""

    def feed(self, data: bytes) -> bytes:
        """What may pass now."""
        if not self._secret:
            return data
        data = (self._tail + data).replace(self._secret, MASK)
        keep = self._suspicious(data)
        self._tail = data[len(data) - keep :]
        return data[: len(data) - keep]

    def rest(self) -> bytes:
        """What was held back, at the end of the stream: it is not the secret."""
        tail, self._tail = self._tail, b""
        return tail

    def _suspicious(self, data: bytes) -> int:
        at = max(0, len(data) - len(self._secret) + 1)
        while (at := data.find(self._secret[:1], at)) >= 0:
            if self._secret.startswith(data[at:]):
                return len(data) - at
            at += 1
        return 0
