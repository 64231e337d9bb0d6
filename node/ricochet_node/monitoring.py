"""The section `monitoring` of node.yaml: metrics, alerts, how long requests are kept.

monitoring:
  metrics: 127.0.0.1:9464
  webhook: https://example.org/hook
  desktop: true
  alerts: [key_refused, cap_reached]
  keep_days: 90
  content: true
  content_days: 7
"""

from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from ricochet_node import content_log
from ricochet_node.listening import host_and_port
from ricochet_node.request_log import KEEP_DAYS

AlertKind = Literal["key_refused", "cap_reached", "payout_confirmed", "node_unreachable"]
ALERTS: Final[tuple[AlertKind, ...]] = (
    "key_refused",
    "cap_reached",
    "payout_confirmed",
    "node_unreachable",
)
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Monitoring(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """As in the file; ValueError names the field that cannot be used.

    `metrics` is HOST:PORT or "" (off); `keep_days` how long requests stay in the log. `content`
    lets prompts and answers be kept for `content_days`, of those subscribers who allow it too.
    """

    metrics: str = ""
    webhook: str = ""
    desktop: bool = False
    alerts: tuple[AlertKind, ...] = ALERTS
    keep_days: int = KEEP_DAYS
    content: bool = False
    content_days: int = content_log.KEEP_DAYS

    def __post_init__(self) -> None:
        if self.metrics:
            try:
                host_and_port(self.metrics)
            except ValueError as error:
                raise ValueError(f"metrics: {error}") from None
        if self.webhook and not _is_webhook(self.webhook):
            raise ValueError("webhook: an https URL is needed, or http on this machine")
        if not 1 <= self.keep_days <= 3650:
            raise ValueError("keep_days: 1 to 3650")
        if not 1 <= self.content_days <= 3650:
            raise ValueError("content_days: 1 to 3650")


def _is_webhook(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    if not parts.hostname or not text.isprintable() or " " in text:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
