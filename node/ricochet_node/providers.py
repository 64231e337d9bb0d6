"""The providers a key can be for: where they are, how they speak, and what the vault lets through.

A key's origin is sealed with it and may differ from the default here; its dialect follows from its
provider's name alone. A name that the table does not know is an OpenAI-compatible server, as every
key was before there was a table; `keys add` accepts only names of the table.

A path is a template: `{model}` stands for one path segment, the model's name. What matches no route
is refused, so that a key serves prompts and nothing else: no files, no fine-tuning, no billing.
"""

import re
from enum import StrEnum
from functools import cached_property
from typing import Final

import msgspec


class Dialect(StrEnum):
    """Whose API a provider imitates."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GOOGLE = "google"


class Provider(msgspec.Struct, frozen=True):
    """One row; `origin` is empty where only the owner knows it."""

    name: str
    origin: str
    dialect: Dialect
    needs_key: bool = True


class Route(msgspec.Struct, frozen=True, dict=True):
    """A request that the vault forwards; `queries` are the only query strings it may have."""

    method: str
    path: str
    queries: tuple[str, ...] = ("",)

    @cached_property
    def pattern(self) -> "re.Pattern[str]":
        """The path, with the model as group `model` where it names one."""
        return re.compile(re.escape(self.path).replace(r"\{model\}", f"(?P<model>{_MODEL})"))


_MODEL: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
"""A segment of its own: no slash, no dots alone, nothing encoded."""
ANTHROPIC_VERSION: Final = "2023-06-01"
"""The version of the Messages API; https://docs.anthropic.com/en/api/versioning."""
GENERIC: Final = "openai-compatible"

_OPENAI: Final = Dialect.OPENAI
PROVIDERS: Final = {
    row.name: row
    for row in (
        Provider("openai", "https://api.openai.com/v1", _OPENAI),
        Provider("anthropic", "https://api.anthropic.com", Dialect.ANTHROPIC),
        Provider("google", "https://generativelanguage.googleapis.com", Dialect.GOOGLE),
        Provider("mistral", "https://api.mistral.ai/v1", _OPENAI),
        Provider("deepseek", "https://api.deepseek.com/v1", _OPENAI),
        Provider("openrouter", "https://openrouter.ai/api/v1", _OPENAI),
        Provider("ollama", "http://127.0.0.1:11434/v1", _OPENAI, needs_key=False),
        # llama.cpp's server, and what imitates it, listens there by default.
        Provider("local", "http://127.0.0.1:8080/v1", _OPENAI, needs_key=False),
        Provider(GENERIC, "", _OPENAI),
    )
}
"""By name; origins hold the base path that the routes below continue."""

ROUTES: Final = {
    Dialect.OPENAI: (Route("POST", "/chat/completions"), Route("GET", "/models")),
    Dialect.ANTHROPIC: (
        Route("POST", "/v1/messages"),
        Route("GET", "/v1/models", ("", "limit=1000")),
    ),
    Dialect.GOOGLE: (
        Route("POST", "/v1beta/models/{model}:generateContent"),
        Route("POST", "/v1beta/models/{model}:streamGenerateContent", ("alt=sse",)),
        Route("GET", "/v1beta/models", ("", "pageSize=1000")),
    ),
}


def provider_of(name: str) -> Provider:
    """The row of this name, or that of an OpenAI-compatible server at the key's own origin."""
    return PROVIDERS.get(name) or msgspec.structs.replace(PROVIDERS[GENERIC], name=name)


def credential(dialect: Dialect, secret: str) -> dict[str, str]:
    """The headers that carry a key; none for an upstream that wants no key."""
    if not secret:
        return {}
    match dialect:
        case Dialect.OPENAI:
            return {"Authorization": f"Bearer {secret}"}
        case Dialect.ANTHROPIC:
            return {"x-api-key": secret, "anthropic-version": ANTHROPIC_VERSION}
        case Dialect.GOOGLE:
            return {"x-goog-api-key": secret}
