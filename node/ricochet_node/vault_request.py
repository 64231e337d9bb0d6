"""What a caller asks of the vault, checked: which key, which route, which model.

A caller may be a library that was taken over, so everything here is untrusted. A path is compared
as it was sent, undecoded, so no other spelling reaches a provider; a body is decoded and written
anew, so the provider reads the model that was checked even where a name stands twice.
"""

from typing import Any

import msgspec

from ricochet_node.key_rules import KeyRules
from ricochet_node.providers import ROUTES, Dialect, Route


class Refusal(Exception):
    """The vault's own answer: an HTTP status and a code for the refusal header."""

    def __init__(self, status: int, code: str) -> None:
        self.status = status
        self.code = code


class Target(msgspec.Struct, frozen=True):
    """An admitted path: `path` continues the key's origin; `model` where the path names it."""

    method: str
    path: str
    model: str | None


def target_untrusted(dialect: Dialect, method: str, raw: str) -> Target:
    """The route that a path below `/<key id>` takes; Refusal `path` or `method`."""
    path, mark, query = raw.partition("?")
    found: Route | None = None
    for route in ROUTES[dialect]:
        matched = route.pattern.fullmatch(path)
        if matched is None or query not in route.queries or (mark and not query):
            continue
        found = route
        if route.method == method:
            return Target(method, raw, matched.groupdict().get("model"))
    raise Refusal(405, "method") if found else Refusal(404, "path")


def body_untrusted(target: Target, body: bytes, rules: KeyRules) -> bytes:
    """The body to send; Refusal `body` when it is not the one object a model wants, or `model`."""
    if target.method == "GET":
        if body:
            raise Refusal(400, "body")
        return b""
    try:
        fields: dict[str, Any] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        model = target.model or msgspec.json.decode(fields.get("model", b""), type=str)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal(400, "body") from None
    if not rules.allows(model):
        raise Refusal(403, "model")
    return msgspec.json.encode(fields)
