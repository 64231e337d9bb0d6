"""Prompts with places in them: which names a template uses, and how it is filled in.

`{name}` is a place, `{{name}}` the literal `{name}`; other braces are text, so that JSON can stand
in a prompt. Everything is filled in at once: what is put into one place is never read as another,
whatever a document or a person writes there.
"""

import re
from collections.abc import Mapping
from typing import Final

_PLACE: Final = re.compile(r"\{\{([a-z0-9][a-z0-9_-]*)\}\}|\{([a-z0-9][a-z0-9_-]*)\}")


def places(template: str) -> tuple[str, ...]:
    """The names of a template's places, in order, as often as they occur."""
    return tuple(match[2] for match in _PLACE.finditer(template) if match[2])


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with `values` in their places; KeyError for a place without a value."""
    return _PLACE.sub(lambda match: values[match[2]] if match[2] else f"{{{match[1]}}}", template)
