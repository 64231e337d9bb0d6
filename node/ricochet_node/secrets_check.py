"""Which secrets are provider keys: API keys, never the tokens of somebody's subscription.

A token of a chat subscription or of a login is not the owner's to resell: its use by a program that
serves others breaks the terms under which it was issued, and costs the account. Each kind is known
by how its issuer writes it.
"""

import re
from typing import Final

from ricochet_protocol.errors import UsageError

_SECRET: Final = re.compile(r"[!-~]{4,512}")
_TOKENS: Final = (
    (r"sk-ant-(oat|ort)\d*-.*", "a token of a Claude subscription"),
    (r"sk-ant-sid\d*-.*", "a session of claude.ai"),
    (r"(ya29\.|1//).*", "a Google login (OAuth)"),
    (r"sess-.*", "a session of the OpenAI platform"),
    (r"(gh[opusr]_|github_pat_).*", "a GitHub token"),
    (r"(Bearer:?)?eyJ[\w-]+\.[\w-]+\.[\w-]*(\.[\w-]+)*", "a session token (JWT)"),
)
"""JWTs are what ChatGPT, Codex and most single sign-ons hand out."""


def check_secret(secret: str) -> None:
    """UsageError `bad_key` or `subscription_token`."""
    for pattern, what in _TOKENS:
        if re.fullmatch(pattern, secret, re.DOTALL):
            raise UsageError(
                "subscription_token",
                f"this is {what}, not an API key: subscriptions and logins may not be shared, "
                "and their accounts are closed for it",
                "create an API key in the provider's console and add that",
            )
    if not _SECRET.fullmatch(secret):
        raise UsageError(
            "bad_key",
            "the provider key is not one line of 4 to 512 printable characters without spaces",
            "paste the key exactly as the provider shows it",
        )
