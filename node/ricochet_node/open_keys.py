"""Which keys are called without the vault: those that hold no secret, and that it would not limit.

There is nothing to keep from anybody then, and the hop costs as much as the call. Whatever the
vault would have to enforce sends the call there: a limit of any kind, which may come by an edit of
node.yaml while the node runs, and the kill switch, which any process may turn. The origin is the
one sealed with the key, as the vault has read it. Calls that go straight leave no line in
`keys.log` and count nothing in `keys.db`; the request log has them.
"""

import sqlite3

from ricochet_node.key_room import VaultRooms
from ricochet_node.vault_process import VaultProcess


class OpenKeys:
    """Of one vault; `rooms` know the rules that it enforces now."""

    def __init__(self, vault: VaultProcess, rooms: VaultRooms) -> None:
        self._vault = vault
        self._rooms = rooms

    def origin(self, key: str) -> str:
        """Where a call of this key goes straight to, "" when it has to take the vault's way."""
        origin = self._vault.open_keys.get(key, "")
        rules = self._rooms.rules.get(key)
        if not origin or rules is None or rules.is_limited:
            return ""
        try:
            # The vault refuses in its own words.
            return "" if self._rooms.is_disabled(key) else origin
        except sqlite3.Error:
            return ""
