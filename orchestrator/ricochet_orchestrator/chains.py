"""Chain files: where they are found, how one is read, and the refusal of bad ones.

A chain in a chains folder has its file's name; a file elsewhere is known by its own `name`. Folders
are searched in order, the working folder's `.ricochet/chains` first, then `chains` in the home
folder, then the templates built in. What a file may say is in `chain_language`, what makes it a
chain in `chain_check`. Anything that is not known is refused with the file and the field, because
an option that is silently ignored costs money.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from ricochet_orchestrator.chain_check import NAME, NotAChainError, checked
from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.field_errors import explained
from ricochet_protocol.errors import UsageError

TEMPLATES: Final = Path(__file__).parent / "templates"
MAX_FILE: Final = 256 * 1024
MAX_DEPTH: Final = 40
"""A chain needs six, and as many more as the schema of an answer is deep."""
SUFFIXES: Final = (".yaml", ".yml", ".json")


AS_MODEL: Final = "ricochet/"
"""Before a chain's name, where models are named."""


def project_folder(working: Path) -> Path:
    """Where the chains are that commands make, edit and delete."""
    return working / ".ricochet" / "chains"


def folders(home: Path, working: Path) -> tuple[Path, ...]:
    """Where chain files are looked for, first match wins."""
    return (project_folder(working), home / "chains", TEMPLATES)


def available(places: Sequence[Path]) -> dict[str, Path]:
    """Name and file of every chain, in order of name; no file is opened."""
    found: dict[str, Path] = {}
    for folder in places:
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.suffix in SUFFIXES and NAME.fullmatch(path.stem):
                    found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def list_chains(home: Path, working: Path | None = None) -> tuple[Chain, ...]:
    """Every chain that can be run from here, in order of name; UsageError for a broken file."""
    places = folders(home, working or Path.cwd())
    return tuple(read(path) for path in available(places).values())


def get(name: str, places: Sequence[Path]) -> Chain:
    """The chain called `name`; UsageError that names the others when there is none."""
    known = available(places)
    if name in known:
        return read(known[name])
    raise unknown(name, known, places[0])


def unknown(name: str, known: Collection[str], folder: Path) -> UsageError:
    """The error for a chain that is none of the known ones."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return UsageError(
        "chain_unknown",
        f"There is no chain {name!r}.",
        f"{hint}Known chains: {', '.join(known)}. Put your own into {folder}.",
    )


def read(path: Path) -> Chain:
    """The chain in a file of a chains folder; UsageError with file and field when it is not one."""
    return parse(path.name, _bytes(path))


def read_elsewhere(path: Path) -> Chain:
    """The chain in a file that is named as its owner likes; UsageError as for `read`."""
    return _of_content(path.name, tree(path.name, _bytes(path)))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        refuse(path.name, f"cannot be read: {error.strerror}")


def parse(file: str, data: bytes) -> Chain:
    """A chain from the bytes of a YAML or JSON file; `file` tells messages apart and is checked."""
    return of_tree(file, tree(file, data))


def of_tree(file: str, content: Any) -> Chain:
    """A chain from what a YAML or JSON file of its name held; UsageError with the field."""
    chain = _of_content(file, content)
    if Path(file).stem != chain.name:
        refuse(file, f"field `name`: says {chain.name!r}, which is not the file's name")
    return chain


def _of_content(file: str, content: Any) -> Chain:
    try:
        return checked(msgspec.convert(content, Chain))
    except msgspec.ValidationError as error:
        refuse(file, explained(error, Chain))
    except NotAChainError as error:
        refuse(file, str(error))


def tree(file: str, data: bytes) -> Any:
    """What a YAML or JSON file holds; UsageError when it is neither."""
    if len(data) > MAX_FILE:
        refuse(file, f"is larger than {MAX_FILE // 1024} KiB")
    import yaml

    try:
        # JSON is YAML, so one parser reads both.
        text = data.decode("utf-8-sig")
        _check_shape(file, text)
        return yaml.load(text, Loader=_loader())  # noqa: S506 - one of the two safe ones
    except UnicodeDecodeError:
        refuse(file, "is not text in UTF-8")
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        problem = getattr(error, "problem", None) or "unreadable value"
        refuse(file, f"is not valid YAML or JSON{line}: {problem}")


def _loader() -> Any:
    """PyYAML's safe loader: in C, fifteen times as fast, where its wheel has that."""
    import yaml

    return yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


def _check_shape(file: str, text: str) -> None:
    """Refuse deep nesting while events are still flat: building the tree recurses for each level.

    Python's own limit does not protect: libraries raise it for the whole process. Aliases are
    refused because a few lines of them are gigabytes when they are followed.
    """
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=_loader()):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            refuse(file, f"uses the alias *{event.anchor}; write the value out")
        if depth > MAX_DEPTH:
            refuse(file, "is nested too deeply")


def refuse(file: str, problem: str) -> NoReturn:
    """UsageError `chain_invalid` about a file."""
    raise UsageError(
        "chain_invalid",
        f"Chain file {file}: {problem}.",
        "Mend the file: docs/chains.md explains every field, and `ricochet chain show overview` "
        "prints an example.",
    )
