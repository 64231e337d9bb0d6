"""What a person wants kept to himself, from `.ricochet/privacy.yaml` and the command line.

    redact: [email, phone, iban, card, ip, secret]   # or all; what is replaced by placeholders
    terms: [Ada Lovelace, Project Blue]              # whole words, whatever their case
    region: DE                                       # phone numbers without a prefix are of there
    sensitivity: attested                            # public, attested or own: whom a run may ask

The file is the working folder's, else the home's. A command line can only add to it: what is
redacted there stays redacted, and of two sensitivities the stricter counts.
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ricochet_orchestrator.document import Document, Part, document_of, part_of
from ricochet_orchestrator.field_errors import explained
from ricochet_orchestrator.personal_data import Finder, Kind
from ricochet_orchestrator.redaction import redact
from ricochet_orchestrator.request import Options
from ricochet_orchestrator.routing import RoutingSettings
from ricochet_protocol.errors import ConfigurationError, UsageError
from ricochet_protocol.sharing import Kind as PolicyKind

FILE_NAME: Final = "privacy.yaml"
KEY_FILE: Final = "redaction.key"
"""Under which placeholders are made: whoever has it can confirm guesses of what they stand for."""
MAX_FILE: Final = 1024 * 1024


class Sensitivity(StrEnum):
    """Whom a run may ask, from the least strict on.

    `attested`: nodes that run the model themselves, or whose permission to sell it is attested;
    `own`: private nodes of one's own.
    """

    PUBLIC = "public"
    ATTESTED = "attested"
    OWN = "own"


class Privacy(msgspec.Struct, frozen=True):
    """Checked settings; nothing is redacted and anybody asked unless they say so."""

    redact: tuple[Kind, ...] = ()
    terms: tuple[str, ...] = ()
    region: str | None = None
    sensitivity: Sensitivity = Sensitivity.PUBLIC

    @property
    def redacts(self) -> bool:
        """Whether texts are changed before they are sent."""
        return bool(self.redact or self.terms)

    def finder(self) -> Finder:
        """What finds what is to be replaced; UsageError for a region or terms that cannot be."""
        kinds = {*self.redact, Kind.TERM} if self.terms else self.redact
        return Finder(kinds, self.terms, self.region)

    def and_also(self, other: "Privacy") -> "Privacy":
        """Both together: all that either redacts, and the stricter sensitivity."""
        return Privacy(
            redact=tuple(dict.fromkeys((*self.redact, *other.redact))),
            terms=tuple(dict.fromkeys((*self.terms, *other.terms))),
            region=other.region or self.region,
            sensitivity=strictest(self.sensitivity, other.sensitivity),
        )


class PrivacyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a `privacy.yaml` may say, as people write it."""

    redact: tuple[Kind, ...] | Literal["all"] = ()
    terms: tuple[str, ...] = ()
    region: str | None = None
    sensitivity: Sensitivity = Sensitivity.PUBLIC


def strictest(*words: Sensitivity) -> Sensitivity:
    """The last of them in order of strictness."""
    return max(words, key=tuple(Sensitivity).index)


def kinds_of(words: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds that a command line names, `all` for every one; UsageError."""
    if "all" in words:
        return _ALL
    try:
        return tuple(Kind(word) for word in words)
    except ValueError:
        raise UsageError(
            "bad_redaction",
            f"{', '.join(words)}: not all of that can be redacted.",
            f"Choose of: all, {', '.join(_ALL)}.",
        ) from None


def terms_of(path: Path) -> tuple[str, ...]:
    """The terms in a file, one a line; UsageError when it cannot be read."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "bad_redaction", f"The terms in {path} cannot be read.", "Give a text file in UTF-8."
        ) from error
    return tuple(line.strip() for line in lines if line.strip())


def load(home: Path, working: Path) -> Privacy:
    """The settings in force here; the defaults without a file. ConfigurationError."""
    for path in (working / ".ricochet" / FILE_NAME, home / FILE_NAME):
        if path.exists():
            return _read(path)
    return Privacy()


def narrowed(settings: RoutingSettings, sensitivity: Sensitivity) -> RoutingSettings:
    """The settings, restricted to whom a text of this sensitivity may go to; UsageError."""
    if sensitivity is Sensitivity.PUBLIC:
        return settings
    allowed = _POLICIES[sensitivity]
    policies = tuple(one for one in settings.policies or allowed if one in allowed)
    if not policies:
        raise UsageError(
            "bad_sensitivity",
            f"sensitivity {sensitivity} leaves nothing of policy {', '.join(settings.policies)}.",
            f"It goes with policies {', '.join(allowed)}.",
        )
    return msgspec.structs.replace(settings, policies=policies)


def sendable(
    home: Path, document: Document, options: Options, privacy: Privacy
) -> tuple[Document, Options, dict[str, str]]:
    """Document and parameters as they may be sent, and what their placeholders stand for."""
    if not privacy.redacts:
        return document, options, {}
    from ricochet_settlement.hot_key import load_or_create

    finder, key = privacy.finder(), load_or_create(home / KEY_FILE)
    redacted, values = redact_document(document, finder, key)
    given = {name: redact(text, finder, key) for name, text in options.parameters.items()}
    for one in given.values():
        values |= one.values
    parameters = {name: one.text for name, one in given.items()}
    return redacted, msgspec.structs.replace(options, parameters=parameters), values


def redact_document(
    document: Document, finder: Finder, key: bytes
) -> tuple[Document, dict[str, str]]:
    """The document as it may be sent, and what its placeholders stand for.

    Names of files go to models too where a document has several, so they are redacted as well.
    """
    values: dict[str, str] = {}

    def redacted(part: Part) -> Part:
        name, text = redact(part.name, finder, key), redact(part.text, finder, key)
        values.update({**name.values, **text.values})
        made = part_of(name.text, text.text, part.media, part.form, part.marks)
        return msgspec.structs.replace(made, cuts=text.cuts)

    parts = tuple(map(redacted, document.parts))
    return document_of(document.name, parts), values


_POLICIES: Final[dict[Sensitivity, tuple[PolicyKind, ...]]] = {
    Sensitivity.ATTESTED: ("own", "attested", "private"),
    Sensitivity.OWN: ("private",),
}
_ALL: Final = tuple(kind for kind in Kind if kind is not Kind.TERM)


def _read(path: Path) -> Privacy:
    try:
        with path.open("rb") as file:
            return parse(path, file.read(MAX_FILE + 1))
    except OSError as error:
        raise _bad(path, f"it cannot be read: {error.strerror}") from None


def parse(path: Path, data: bytes) -> Privacy:
    """The settings in a file's bytes; ConfigurationError, which names its path."""
    import yaml

    if len(data) > MAX_FILE:
        raise _bad(path, f"it is larger than {MAX_FILE // 1024} KiB")
    try:
        content: Any = yaml.safe_load(data.decode("utf-8-sig"))
        file = msgspec.convert(content if content is not None else {}, PrivacyFile)
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError):
        raise _bad(path, "it is not YAML in UTF-8") from None
    except msgspec.ValidationError as error:
        raise _bad(path, explained(error, PrivacyFile)) from None
    kinds = _ALL if file.redact == "all" else file.redact
    found = Privacy(tuple(kinds), file.terms, file.region, file.sensitivity)
    try:
        found.finder()
    except UsageError as error:
        raise _bad(path, error.message) from None
    return found


def _bad(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError("bad_privacy", f"{path}: {why}", "Mend the file; nothing was sent.")
