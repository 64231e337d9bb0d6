"""The language a command speaks: English, or a catalogue in `locale/` that somebody asks for.

`t` and `tn` are for what commands say: a template with named values. `told` is for what comes to
them in English: help, literals handed to the console, and errors, which are raised in English
everywhere because they are also logged, stored and sent to peers who read another language. The
catalogue holds the templates such errors are made of, with numbered places; `told` finds the one
that accounts for most of the text, places included, and puts the values into its translation. What
fits none is shown as it is.

A process speaks one language, chosen once before it says anything; until then it speaks English.
docs/translation.md tells how to write a message.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Final, NamedTuple

LOCALES: Final = Path(__file__).parent / "locale"
DOMAIN: Final = "ricochet"
_VARIABLES: Final = ("RICOCHET_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
"""In the order in which they are asked; the first that is set decides, as in POSIX."""
_NUMBERED: Final = re.compile(r"\{\d+\}")
_DEPTH: Final = 3
"""An error may quote an error that quotes an error; what is deeper is shown as it is."""
_WIDTH: Final = 4
"""Templates that are tried of those that fit, the longest first."""


class _Template(NamedTuple):
    """A message with numbered places, cut at them."""

    message: str
    pieces: tuple[str, ...]

    def values(self, text: str) -> list[str] | None:
        """What stands in its places, each as short as can be, if `text` was made of it.

        One pass without going back: peers write some of these texts.
        """
        first, *middle, last = self.pieces
        if not (text.startswith(first) and text.endswith(last)):
            return None
        values, start = [], len(first)
        for piece in middle:
            at = text.find(piece, start + 1)
            if at < 0:
                return None
            values.append(text[start:at])
            start = at + len(piece)
        values.append(text[start : len(text) - len(last)])
        return values if values[-1] and start + len(last) < len(text) else None

    @property
    def length(self) -> int:
        """How much of it is words."""
        return sum(map(len, self.pieces))


class _Catalogue(GNUTranslations):
    """A compiled catalogue whose templates can be searched."""

    @cached_property
    def templates(self) -> list[_Template]:
        """Its messages with numbered places."""
        messages: Mapping[object, str] = vars(self)["_catalog"]
        return [
            _Template(key, tuple(_NUMBERED.split(key.replace("{{", "{").replace("}}", "}"))))
            for key in messages
            if isinstance(key, str) and _NUMBERED.search(key)
        ]


_spoken: NullTranslations = NullTranslations()


def choose(environment: Mapping[str, str]) -> None:
    """Speak what the environment asks for, and English where there is no catalogue of it."""
    global _spoken
    compiled = LOCALES / language(environment) / "LC_MESSAGES" / f"{DOMAIN}.mo"
    if not compiled.is_file():
        _spoken = NullTranslations()
        return
    with compiled.open("rb") as file:
        _spoken = _Catalogue(file)


def language(environment: Mapping[str, str]) -> str:
    """The two letters of the language asked for; `en` when none is."""
    value = next(filter(None, map(environment.get, _VARIABLES)), "")
    found = re.match(r"[a-z]{2}(?![a-z])", value)
    return found[0] if found else "en"


def t(template: str, /, **values: object) -> str:
    """The template in the language spoken, with the values in their places."""
    return _spoken.gettext(template).format(**values)


def tn(one: str, many: str, count: int, /, **values: object) -> str:
    """As `t`, in the form that `count` takes; the templates name it `{count}`."""
    return _spoken.ngettext(one, many, count).format(count=count, **values)


def told(text: str) -> str:
    """A text that was written in English, in the language spoken where the catalogue has it."""
    return _told(text, 0)[0]


def told_help(text: str) -> str:
    """A help text; where its lines break is no part of the message, where paragraphs do is."""
    flat = flowing(text)
    return _spoken.gettext(flat) if flat else ""


def flowing(text: str) -> str:
    """The text with one line a paragraph; those that start with click's mark keep their lines."""
    paragraphs = re.split(r"\n[ \t]*\n", text.strip())
    return "\n\n".join(one if "\b" in one else " ".join(one.split()) for one in paragraphs)


def _told(text: str, depth: int) -> tuple[str, int]:
    """The text in the language spoken, and how many of its letters were in the catalogue."""
    if not isinstance(_spoken, _Catalogue) or not text.strip():
        return text, 0
    same = _spoken.gettext(text)
    if same != text:
        return same, len(text)
    if depth == _DEPTH:
        return text, 0
    fits = [(one, values) for one in _spoken.templates if (values := one.values(text))]
    fits.sort(key=lambda fit: fit[0].length, reverse=True)
    read = [_filled(template, values, depth) for template, values in fits[:_WIDTH]]
    return max(read, key=lambda found: found[1], default=(text, 0))


def _filled(template: _Template, values: list[str], depth: int) -> tuple[str, int]:
    # A value of several words may be a message; one word is a name.
    inner = [_told(value, depth + 1) if " " in value else (value, 0) for value in values]
    told = _spoken.gettext(template.message).format(*(value for value, _ in inner))
    return told, template.length + sum(known for _, known in inner)
