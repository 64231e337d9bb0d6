"""Which way a call takes: straight to the vault, or through the litellm worker.

OpenAI-compatible providers are asked directly: that streams through at a fraction of litellm's
cost, and litellm would estimate Mistral's usage without a word. The key's provider decides.
"""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Final

from ricochet_node.cap_watch import CapWatch
from ricochet_node.direct import DirectUpstream
from ricochet_node.faults import ProviderFault
from ricochet_node.http_client import HttpClient
from ricochet_node.keystore import KeyInfo
from ricochet_node.log import EventLog
from ricochet_node.providers import Dialect, provider_of
from ricochet_node.upstream import Piece, Upstream, Whole
from ricochet_node.vault_process import VaultProcess
from ricochet_node.worker_frames import Boot, Channel
from ricochet_node.worker_process import WorkerProcess
from ricochet_node.worker_upstream import WorkerUpstream
from ricochet_protocol.conversation import Feature
from ricochet_protocol.messages import Ask

_CHANNELS: Final[dict[Dialect, Channel]] = {
    Dialect.ANTHROPIC: "anthropic",
    Dialect.GOOGLE: "google",
}
_NEVER: Final[dict[Dialect, frozenset[Feature]]] = {
    # litellm refuses the seed, drops json_object, and needs a beta header for schemas.
    Dialect.ANTHROPIC: frozenset({"seed", "json_object", "json_schema"}),
}


def unsupported(provider: str, features: Iterable[Feature]) -> tuple[Feature, ...]:
    """Which of the features no offer of this provider can keep."""
    never = _NEVER.get(provider_of(provider).dialect, frozenset())
    return tuple(sorted(never.intersection(features)))


class Upstreams:
    """The port over all keys of a vault, stopped by its owner; `straight`: see `DirectUpstream`."""

    def __init__(
        self,
        client: HttpClient,
        vault: VaultProcess,
        keys: Iterable[KeyInfo],
        log: EventLog,
        caps: CapWatch,
        straight: Callable[[str], str],
    ) -> None:
        self._caps = caps
        self._channels = {
            info.id: _CHANNELS[dialect]
            for info in keys
            if (dialect := provider_of(info.provider).dialect) in _CHANNELS
        }
        self._direct = DirectUpstream(client, vault.link, straight)
        boot = Boot(vault=vault.base_url, token=vault.token)
        self._worker = WorkerUpstream(WorkerProcess.start, self._channels, boot, log)

    async def stream(self, key_id: str, model: str, ask: Ask) -> AsyncGenerator[Piece, None]:
        """As in the port."""
        try:
            async with aclosing(self._way(key_id).stream(key_id, model, ask)) as pieces:
                async for piece in pieces:
                    yield piece
        except ProviderFault as fault:
            self._caps.hear(key_id, fault)
            raise

    async def whole(self, key_id: str, model: str, ask: Ask) -> Whole:
        """As in the port."""
        try:
            return await self._way(key_id).whole(key_id, model, ask)
        except ProviderFault as fault:
            self._caps.hear(key_id, fault)
            raise

    def _way(self, key_id: str) -> Upstream:
        return self._worker if key_id in self._channels else self._direct

    @property
    def worker_pid(self) -> int | None:
        """The litellm worker, None while none runs."""
        return self._worker.pid

    async def stop(self) -> None:
        """End the worker if one runs."""
        await self._worker.stop()
