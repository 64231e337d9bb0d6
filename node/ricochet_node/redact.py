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
        longest = min(len(self._secret) - 1, len(data))
        for length in range(longest, 0, -1):
            if data.endswith(self._secret[:length]):
                return length
        return 0
