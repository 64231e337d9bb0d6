"""Length-prefixed frames: four bytes of big-endian length, then that many bytes.

A frame is never longer than `MAX_FRAME`, so that one slow answer cannot hold a stream for long and
a peer cannot make us allocate what it never sends. The decoder keeps only the unfinished tail.
"""

from ricochet_protocol.errors import garbage

MAX_FRAME = 64 * 1024
PREFIX = 4


def encode_frame(payload: bytes) -> bytes:
    """Prefix and payload; ValueError when the payload is empty or above `MAX_FRAME`."""
    if not 0 < len(payload) <= MAX_FRAME:
        raise ValueError(f"a frame holds 1 to {MAX_FRAME} bytes, not {len(payload)}")
    return len(payload).to_bytes(PREFIX, "big") + payload


class FrameDecoder:
    """Turns a stream of peer bytes into frames, whatever way the bytes are cut."""

    def __init__(self) -> None:
        self._tail = bytearray()

    def feed_untrusted(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes; RemoteFault for an impossible length."""
        self._tail += data
        frames: list[bytes] = []
        start = 0
        while len(self._tail) - start >= PREFIX:
            length = int.from_bytes(self._tail[start : start + PREFIX], "big")
            if not 0 < length <= MAX_FRAME:
                raise garbage(f"a frame of impossible length {length}")
            end = start + PREFIX + length
            if len(self._tail) < end:
                break
            frames.append(bytes(self._tail[start + PREFIX : end]))
            start = end
        del self._tail[:start]
        return frames

    @property
    def pending(self) -> int:
        """Bytes of an unfinished frame; more than 0 at the end of a stream means it was cut."""
        return len(self._tail)
