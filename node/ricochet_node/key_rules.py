"""What the owner lets a key do, as the vault enforces it."""

import msgspec


class KeyRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules of one key; `models` are the provider's names that it serves, None for all."""

    models: tuple[str, ...] | None = None

    def allows(self, model: str) -> bool:
        """Whether calls of this model are let through."""
        return self.models is None or model in self.models
