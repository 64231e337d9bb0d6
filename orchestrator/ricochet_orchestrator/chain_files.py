"""Chain files that a person owns: made from a template, edited, moved in and out, and deleted.

They are in the working folder's `.ricochet/chains`. Whatever is written was checked as a chain
before, takes the file's place in one step, and never replaces another file unless told to. What a
person wrote is kept to the byte where it is not changed; a changed chain is written anew, as YAML.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ricochet_orchestrator.chain_check import NAME
from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.chains import (
    SUFFIXES,
    TEMPLATES,
    available,
    of_tree,
    parse,
    read,
    read_elsewhere,
    refuse,
    tree,
    unknown,
)
from ricochet_orchestrator.placing import place
from ricochet_protocol.errors import UsageError

Form = Literal["yaml", "json"]
FORMS: Final[dict[str, Form]] = {".yaml": "yaml", ".yml": "yaml", ".json": "json"}


def created(
    template: Chain, name: str, models: Mapping[str, str], proposed: Mapping[str, str]
) -> Chain:
    """The template under another name, its steps with the models of their roles.

    `models` were asked for, and must be of the template's roles; `proposed` come second.
    """
    roles = {step.role for step in template.steps}
    for role in models:
        if role not in roles:
            raise UsageError(
                "role_unknown",
                f"The chain {template.name} has no role {role!r}.",
                f"Its roles: {', '.join(sorted(roles))}.",
            )
    content = msgspec.to_builtins(template)
    content["name"] = name
    for step in content["steps"]:
        model = models.get(step["role"]) or step.get("model") or proposed.get(step["role"])
        if model:
            step["model"] = model
    return of_tree(f"{name}.yaml", content)


def changed(path: Path, settings: Iterable[str]) -> bytes:
    """A chain file with fields set, as `steps.NAME.FIELD=VALUE` or `FIELD=VALUE`; checked.

    A value is read as YAML, an empty one takes the field away.
    """
    content = tree(path.name, path.read_bytes())
    of_tree(path.name, content)
    for setting in settings:
        where, is_setting, value = setting.partition("=")
        if not is_setting:
            raise _bad_setting(setting, "is not of the form FIELD=VALUE")
        table, field = _table(content, where.split("."), setting)
        parsed = tree(path.name, value.encode())
        if parsed is None:
            table.pop(field, None)
        else:
            table[field] = parsed
    return written(of_tree(path.name, content), FORMS[path.suffix])


def _table(content: Any, names: list[str], setting: str) -> tuple[dict[str, Any], str]:
    """The table that a dotted path leads to, and the field in it."""
    for name in names[:-1]:
        if isinstance(content, list):
            content = next((one for one in content if one.get("name") == name), None)
        else:
            content = content.get(name)
        if not isinstance(content, dict | list):
            raise _bad_setting(setting, f"there is no {name!r}")
    if not isinstance(content, dict):
        raise _bad_setting(setting, "names a step, but no field of it")
    return content, names[-1]


def _bad_setting(setting: str, problem: str) -> UsageError:
    return UsageError(
        "setting_bad", f"{setting}: {problem}.", "Such as --set steps.summarize.max_tokens=200"
    )


def written(chain: Chain, form: Form) -> bytes:
    """A chain as the content of a file."""
    content = {"name": chain.name, **msgspec.to_builtins(chain)}
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes texts of several lines as such."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    dumped: str = yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)
    return dumped.encode()


def owned(name: str, folder: Path) -> Path:
    """The file of a chain that this folder holds; UsageError that says where a chain really is."""
    path = available((folder,)).get(name)
    if path is not None:
        return path
    if name in available((TEMPLATES,)):
        raise UsageError(
            "chain_builtin",
            f"{name!r} is a template; it has no file of yours.",
            f"Make one from it: ricochet chain create --name MINE --from {name}",
        )
    raise unknown(name, available((folder, TEMPLATES)), folder)


def save(folder: Path, name: str, data: bytes, suffix: str, *, replace: bool) -> Path:
    """Write a chain's file; UsageError `chain_exists` when there is one, without `replace`."""
    if not NAME.fullmatch(name):
        refuse(f"{name}{suffix}", "a name has lower-case letters, digits, `-` and `_`, at most 64")
    parse(f"{name}{suffix}", data)
    old = available((folder,)).get(name)
    path = folder / f"{name}{suffix}"
    if old is not None and not replace:
        raise UsageError(
            "chain_exists", f"{old} exists already.", "Add --force to replace it, or choose a name."
        )
    place(path, data)
    if old is not None and old != path:
        old.unlink()
    return path


def checked_file(which: str, places: Sequence[Path]) -> tuple[Path, Chain]:
    """The chain that a name or a file says, and its file; UsageError when it is none.

    What ends as files of chains do, or names a folder, is a file. In a chains folder it must have
    the chain's name, because it is found by that.
    """
    path = Path(which)
    if not path.suffix and path.name == which:
        known = available(places)
        if which not in known:
            raise unknown(which, known, places[0])
        return known[which], read(known[which])
    suffix_of(path)
    at_home = any(folder.is_dir() and folder.samefile(path.parent) for folder in places)
    return path, read(path) if at_home and path.exists() else read_elsewhere(path)


def suffix_of(path: Path) -> str:
    """The ending of a chain file; UsageError for another kind of file."""
    if path.suffix not in SUFFIXES:
        refuse(path.name, f"ends in {path.suffix or 'nothing'}, not in {', '.join(SUFFIXES)}")
    return path.suffix
