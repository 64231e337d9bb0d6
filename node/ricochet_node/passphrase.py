"""The owner's passphrase for as long as a start needs it.

It opens the vault, and the wallet if the node has to be registered; a node that serves has no use
for it. So it comes in one holder that is emptied before the node is ready, instead of as a text
that every frame on the way would keep.
"""


class Passphrase:
    """Holds the passphrase until `forget`."""

    def __init__(self, text: str) -> None:
        self._bytes = bytearray(text.encode())

    def text(self) -> str:
        """The passphrase, for a call that ends soon; RuntimeError once it is forgotten."""
        if not self._bytes:
            raise RuntimeError("the passphrase is forgotten")
        return self._bytes.decode()

    def forget(self) -> None:
        """Overwrite it; may be called twice."""
        self._bytes[:] = bytes(len(self._bytes))
        self._bytes.clear()
