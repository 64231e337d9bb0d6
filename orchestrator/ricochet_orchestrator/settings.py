"""Settings of runs one value at a time: `routing.yaml`, `privacy.yaml` and `models.json`.

A value is named by its file and its entry: `routing.strategy`, `privacy.redact`, `models.analyzer`.
Each file is the working folder's (`.ricochet/`) or the home's. A file is checked as a whole, by the
module that reads it, before it is replaced in one step; what cannot be used is never written. Where
it can be, only the entry's own lines change, so comments stay.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_type_hints

import msgspec

from ricochet_orchestrator import privacy, role_models, routing
from ricochet_orchestrator.placing import place
from ricochet_protocol.errors import ConfigurationError, UsageError
from ricochet_settlement.file_lock import locked

Scope = Literal["project", "user"]
MODELS: Final = "models"
_FOLDER: Final = ".ricochet"


class Setting(msgspec.Struct, frozen=True):
    """One value in effect; `origin` is project, user or default, `path` the file that says it."""

    name: str
    value: Any
    origin: str
    path: str | None


class _Kind(msgspec.Struct, frozen=True):
    """A file of settings: the struct it is read as, and what holds where it says nothing."""

    file: str
    entries: type[msgspec.Struct]
    defaults: Mapping[str, Any]
    merged: bool
    """Whether the home's entries hold where the project's file leaves them out."""


_KINDS: Final = {
    "routing": _Kind(
        routing.FILE,
        routing.RoutingFlags,
        msgspec.to_builtins(routing.DEFAULTS) | {"canaries": "0"},
        True,
    ),
    "privacy": _Kind(
        privacy.FILE_NAME, privacy.PrivacyFile, msgspec.to_builtins(privacy.Privacy()), False
    ),
}


def path_of(kind: str, scope: Scope, home: Path, project: Path) -> Path:
    """Where settings of a kind are: routing, privacy or models."""
    name = role_models.FILE if kind == MODELS else _KINDS[kind].file
    return home / name if scope == "user" else project / _FOLDER / name


def kinds() -> tuple[str, ...]:
    """The kinds of settings, in the order in which they are shown."""
    return (*_KINDS, MODELS)


def listed(home: Path, project: Path) -> tuple[Setting, ...]:
    """Every value in effect and where it comes from; ConfigurationError or UsageError for a file
    that cannot be used."""
    found: list[Setting] = []
    for kind, about in _KINDS.items():
        places: list[tuple[Scope, Path, dict[str, Any]]] = []
        for scope in _scopes():
            path = path_of(kind, scope, home, project)
            if path.exists():
                places.append((scope, path, _checked(kind, path, path.read_bytes())))
        if not about.merged:
            places = places[:1]
        for entry, default in about.defaults.items():
            said = next((one for one in places if one[2].get(entry) is not None), None)
            name = f"{kind}.{entry}"
            if said is None:
                found.append(Setting(name, default, "default", None))
            else:
                found.append(Setting(name, said[2][entry], said[0], str(said[1])))
    layers = role_models.layers(home, project)
    for role in role_models.by_role(layers):
        layer = next(one for one in layers if role in one.settings.roles)
        model = layer.settings.roles[role].model
        found.append(Setting(f"{MODELS}.{role}", model, layer.name, str(layer.path)))
    return tuple(found)


def set_value(home: Path, project: Path, name: str, text: str, scope: Scope) -> Path:
    """Set one value, written as in YAML; the file that holds it now. UsageError `bad_setting`."""
    kind, entry = _parts(name)
    path = path_of(kind, scope, home, project)
    if kind == MODELS:
        with role_models.changing(path) as held:
            held[0] = role_models.with_roles(held[0], {entry: text})
        return path
    _change(kind, path, entry, _value(kind, entry, text), name)
    return path


def unset(home: Path, project: Path, name: str, scope: Scope) -> Path:
    """Take one value out of a file; UsageError `not_set` when it is not in that one."""
    kind, entry = _parts(name)
    path = path_of(kind, scope, home, project)
    if kind == MODELS:
        with role_models.changing(path) as held:
            held[0] = role_models.without_roles(held[0], (entry,))
        return path
    _change(kind, path, entry, None, name)
    return path


def unknown(name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that there is not, with the one that was probably meant."""
    near = difflib.get_close_matches(name, list(known), 1)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return UsageError(
        "unknown_setting", f"there is no setting {name!r}", f"{guess}See `ricochet config list`."
    )


def names() -> tuple[str, ...]:
    """The names there are, but for roles, which chains may add to."""
    roles = (role_models.MAIN, "research", "fallback")
    return (
        *(f"{kind}.{entry}" for kind, about in _KINDS.items() for entry in about.defaults),
        *(f"{MODELS}.{role}" for role in roles),
    )


def _scopes() -> tuple[Scope, ...]:
    return ("project", "user")


def _parts(name: str) -> tuple[str, str]:
    kind, _, entry = name.partition(".")
    if not entry or (kind != MODELS and name not in names()):
        raise unknown(name, names())
    return kind, entry


def _value(kind: str, entry: str, text: str) -> Any:
    """What was typed; texts (amounts, a region) as they are, all else as YAML reads it."""
    import yaml

    if get_type_hints(_KINDS[kind].entries)[entry] == (str | None):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise _bad(f"{kind}.{entry}", "it is not a value of YAML; quote it") from None


def _change(kind: str, path: Path, entry: str, value: Any, name: str) -> None:
    with locked(path):
        old = path.read_bytes() if path.exists() else b""
        tree = _checked(kind, path, old)
        if value is None and entry not in tree:
            raise UsageError(
                "not_set", f"{path} does not set {name}", "`ricochet config list` says what does."
            )
        wanted = {key: one for key, one in tree.items() if key != entry}
        if value is not None:
            wanted = tree | {entry: value}
        new = edited(old.decode("utf-8-sig"), entry, value, wanted).encode()
        try:
            _checked(kind, path, new)
        except ConfigurationError as error:
            raise _bad(name, error.message.removeprefix(f"{path}: ")) from None
        place(path, new)


def _checked(kind: str, path: Path, data: bytes) -> dict[str, Any]:
    """The tree of a file that can be used; ConfigurationError."""
    import yaml

    parse = routing.parse if kind == "routing" else privacy.parse
    parse(path, data)
    tree = yaml.safe_load(data.decode("utf-8-sig"))
    return {} if tree is None else dict(tree)


def edited(old: str, entry: str, value: Any, wanted: dict[str, Any]) -> str:
    """The text with one entry of the top changed; written anew where that cannot be done."""
    import yaml

    line = "" if value is None else yaml.safe_dump({entry: value}, default_flow_style=None)
    root = yaml.compose(old, Loader=yaml.SafeLoader)
    pairs = root.value if isinstance(root, yaml.MappingNode) and not root.flow_style else []
    spans = [
        (key.start_mark.index, held.end_mark.index) for key, held in pairs if key.value == entry
    ]
    if spans:
        start, end = spans[0]
        rest = old[end:].removeprefix("\n") if value is None else old[end:]
        new = old[:start] + (line.rstrip("\n") if rest.startswith(("\n", " ")) else line) + rest
    else:
        new = (old if not old or old.endswith("\n") else old + "\n") + line
    try:
        if (yaml.safe_load(new) or {}) == wanted:
            return new
    except yaml.YAMLError:
        pass
    return yaml.safe_dump(wanted, sort_keys=False)


def _bad(name: str, why: str) -> UsageError:
    return UsageError("bad_setting", f"{name}: {why}", "Nothing was written; correct the value.")
