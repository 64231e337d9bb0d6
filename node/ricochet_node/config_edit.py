"""One value of `node.yaml` at a time: shown with where it comes from, or set.

A value is named by its place: `region`, `claim.minimum`, `keys.openai.rpm` or
`offers.MODEL.price_in`. The whole file is checked before it is replaced, in one step. Setting what
the file has already changes only those characters; a new place rewrites the file, and its comments
are lost.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from ricochet_node.config import FILE_NAME, ConfigFile, checked, load, read_file
from ricochet_node.config_values import Wrong
from ricochet_protocol.errors import ConfigurationError, UsageError

_UNKNOWN: Final = "see `ricochet node config show` for the names"


class Setting(msgspec.Struct, frozen=True):
    """One value in effect; `origin` is `file` or `default`."""

    name: str
    value: Any
    origin: str


def settings(home: Path) -> tuple[Setting, ...]:
    """Every value in effect; ConfigurationError when the file cannot be used."""
    load(home)
    path = home / FILE_NAME
    written = _tree(path.read_text(encoding="utf-8"))
    return tuple(
        Setting(".".join(place), value, "file" if _has(written, place) else "default")
        for place, value in _values(read_file(path))
    )


def check(home: Path) -> None:
    """ConfigurationError names file, field and fix; of keys and policy too, where a wallet is."""
    load(home)
    from ricochet_node.offering import Offering

    try:
        offering = Offering.of(home)
    except ConfigurationError as error:
        if error.code not in ("no_network", "no_wallet"):
            raise
        return
    offering.check()


def missing(home: Path) -> ConfigurationError | None:
    """What `check` has against the file, if anything."""
    try:
        check(home)
    except ConfigurationError as error:
        return error
    return None


def set_value(home: Path, name: str, text: str) -> bool:
    """Set one value, written as in YAML; whether the file's comments were kept.

    UsageError for a place there cannot be, or a value that cannot be used: then nothing is written.
    """
    import yaml

    from ricochet_settlement.private_file import write_private

    path = home / FILE_NAME
    read_file(path) if path.exists() else load(home)
    old = path.read_text(encoding="utf-8")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise _bad(name, "it is not a value of YAML; quote it") from None
    if isinstance(value, float):
        value = text  # amounts are texts: a float would not be exact
    tree = _tree(old)
    place = _place(tree, name)
    _put(tree, place, value, name)
    try:
        checked(msgspec.convert(tree, ConfigFile))
    except (Wrong, msgspec.ValidationError, ValueError) as error:
        raise _bad(name, str(error)) from None
    new = _spliced(old, place, value)
    kept = new is not None and _tree(new) == tree
    if not kept or new is None:
        new = yaml.safe_dump(tree, sort_keys=False)
        kept = "#" not in old
    write_private(path, new.encode())
    return kept


def _values(file: ConfigFile) -> Iterator[tuple[tuple[str, ...], Any]]:
    for field in msgspec.structs.fields(file):
        value = getattr(file, field.name)
        if field.name == "offers":
            for offer in value:
                yield from _leaves(("offers", offer.model), offer)
        else:
            yield from _leaves((field.name,), value)


def _leaves(place: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            yield from _leaves((*place, field.encode_name), getattr(value, field.name))
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _leaves((*place, name), each)
    elif value is not msgspec.UNSET:
        yield place, msgspec.to_builtins(value)


def _tree(text: str) -> dict[str, Any]:
    import yaml

    tree = yaml.safe_load(text)
    return tree if isinstance(tree, dict) else {}


def _has(tree: Any, place: tuple[str, ...]) -> bool:
    for name in place:
        tree = _child(tree, name)
        if tree is None:
            return False
    return True


def _child(tree: Any, name: str) -> Any:
    """What is below; offers are found by their model."""
    if isinstance(tree, list):
        found = (one for one in tree if isinstance(one, dict) and one.get("model") == name)
        return next(found, None)
    return tree.get(name) if isinstance(tree, dict) else None


def _place(tree: dict[str, Any], name: str) -> tuple[str, ...]:
    """The parts of a name; models have dots of their own."""
    parts = name.split(".")
    if not all(parts):
        raise UsageError("bad_setting", f"{name}: not the name of a setting", _UNKNOWN)
    if parts[0] == "offers" and len(parts) >= 3:
        model = ".".join(parts[1:-1])
        if _child(tree.get("offers"), model) is None:
            raise UsageError(
                "bad_setting", f"{name}: no offer of {model}", "`ricochet node offer` makes one"
            )
        return "offers", model, parts[-1]
    if parts[0] == "keys" and len(parts) >= 5 and parts[2] == "prices":
        return "keys", parts[1], "prices", ".".join(parts[3:-1]), parts[-1]
    return tuple(parts)


def _put(tree: dict[str, Any], place: tuple[str, ...], value: Any, name: str) -> None:
    below: Any = tree
    for part in place[:-1]:
        if isinstance(below, dict) and below.get(part) is None:
            below[part] = {}
        below = _child(below, part)
    if not isinstance(below, dict):
        raise UsageError("bad_setting", f"{name}: not the name of a setting", _UNKNOWN)
    below[place[-1]] = value


def _spliced(text: str, place: tuple[str, ...], value: Any) -> str | None:
    """The text with only that scalar replaced; None when it is not there, or no scalar."""
    import yaml

    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for name in place:
        node = _node_below(node, name)
        if node is None:
            return None
    if not isinstance(node, yaml.ScalarNode) or isinstance(value, dict | list):
        return None
    flow = yaml.safe_dump([value], default_flow_style=True, width=10**6).strip()
    return text[: node.start_mark.index] + flow[1:-1] + text[node.end_mark.index :]


def _node_below(node: Any, name: str) -> Any:
    import yaml

    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            model = _node_below(each, "model")
            if model is not None and model.value == name:
                return each
        return None
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == name), None)
    return None


def _bad(name: str, why: str) -> UsageError:
    why = why.removeprefix(f"{name}: ")
    return UsageError("bad_setting", f"{name}: {why}", "nothing was written; correct the value")
