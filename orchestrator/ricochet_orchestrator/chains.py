"""Chains as data: what a chain file may say, where files are found, and the refusal of bad ones.

A chain is a list of steps, each `map` (one call for each input) or `reduce` (one call for a group
of inputs), over the document's segments or over another step. Steps form a graph with one end.
Anything a file says that is not known here is refused with the file and the field, because an
option that is silently ignored costs money.

A chain's name is its file's name. Folders are searched in order, the working folder's
`.ricochet/chains` first, then `chains` in the home folder, then the templates built in.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import msgspec

from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import ModelId

SEGMENTS: Final = "segments"
PLACEHOLDER: Final = "{text}"
TEMPLATES: Final = Path(__file__).parent / "templates"
MAX_FILE: Final = 256 * 1024
MAX_STEPS: Final = 64
MAX_ANSWER: Final = 32_768
"""More tokens than any model here answers in one call."""
MAX_DEPTH: Final = 16
"""A chain needs three: the file, its steps, a step."""
_SUFFIXES: Final = (".yaml", ".yml", ".json")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class ChainStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`over` names a step or `segments`; `group` is the number of inputs of one reduce call.

    Without `group`, a reduce goes on until one answer is left. `model` None means: the run's.
    """

    name: str
    role: str
    mode: Literal["map", "reduce"]
    over: str
    prompt: str
    max_tokens: int
    group: int | None = None
    temperature: float = 0.0
    model: ModelId | None = None


class Chain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A checked chain; `steps` are in order of dependency."""

    name: str
    steps: tuple[ChainStep, ...]
    description: str = ""

    @property
    def last(self) -> ChainStep:
        """The step whose answers are the chain's result."""
        return self.steps[-1]


def folders(home: Path, working: Path) -> tuple[Path, ...]:
    """Where chain files are looked for, first match wins."""
    return (working / ".ricochet" / "chains", home / "chains", TEMPLATES)


def available(places: Sequence[Path]) -> dict[str, Path]:
    """Name and file of every chain, in order of name; no file is opened."""
    found: dict[str, Path] = {}
    for folder in places:
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.suffix in _SUFFIXES and _NAME.fullmatch(path.stem):
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
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    raise UsageError(
        "chain_unknown",
        f"There is no chain {name!r}.",
        f"{hint}Known chains: {', '.join(known)}. Put your own into {places[0]}.",
    )


def read(path: Path) -> Chain:
    """The chain in a file; UsageError with file and field when it is not one."""
    try:
        data = path.read_bytes()
    except OSError as error:
        _refuse(path.name, f"cannot be read: {error.strerror}")
    return parse(path.name, data)


def parse(file: str, data: bytes) -> Chain:
    """A chain from the bytes of a YAML or JSON file; `file` tells messages apart and is checked."""
    try:
        chain = msgspec.convert(_tree(file, data), Chain)
        return _checked(file, chain)
    except msgspec.ValidationError as error:
        _refuse(file, _readable(str(error)))


def _tree(file: str, data: bytes) -> Any:
    if len(data) > MAX_FILE:
        _refuse(file, f"is larger than {MAX_FILE // 1024} KiB")
    import yaml

    try:
        # JSON is YAML, so one parser reads both.
        text = data.decode("utf-8-sig")
        _check_depth(file, text)
        return yaml.safe_load(text)
    except UnicodeDecodeError:
        _refuse(file, "is not text in UTF-8")
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        problem = getattr(error, "problem", None) or "unreadable value"
        _refuse(file, f"is not valid YAML or JSON{line}: {problem}")


def _check_depth(file: str, text: str) -> None:
    """Refuse deep nesting while events are still flat: building the tree recurses for each level.

    Python's own limit does not protect: libraries raise it for the whole process.
    """
    import yaml

    depth = 0
    for event in yaml.parse(text):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            _refuse(file, "is nested too deeply")


def _checked(file: str, chain: Chain) -> Chain:
    if not _NAME.fullmatch(chain.name):
        _refuse(file, "field `name`: use lower-case letters, digits, `-` and `_`, at most 64")
    if Path(file).stem != chain.name:
        _refuse(file, f"field `name`: says {chain.name!r}, which is not the file's name")
    if not 0 < len(chain.steps) <= MAX_STEPS:
        _refuse(file, f"field `steps`: a chain has 1 to {MAX_STEPS} steps")
    for index, step in enumerate(chain.steps):
        problem = _problem(step)
        if problem is not None:
            _refuse(file, f"field `steps[{index}].{problem[0]}`: {problem[1]}")
    return msgspec.structs.replace(chain, steps=_ordered(file, chain.steps))


def _problem(step: ChainStep) -> tuple[str, str] | None:
    """The first wrong field of a step taken alone, and why."""
    if not _NAME.fullmatch(step.name) or step.name == SEGMENTS:
        return "name", f"use lower-case letters, digits, `-` and `_`; {SEGMENTS!r} is taken"
    if not 0 < len(step.role) <= 64 or not step.role.isprintable():
        return "role", "a role has 1 to 64 printable characters"
    if step.prompt.count(PLACEHOLDER) != 1:
        return "prompt", f"the prompt holds {PLACEHOLDER} exactly once, where the text goes"
    if not 0 < step.max_tokens <= MAX_ANSWER:
        return "max_tokens", f"from 1 to {MAX_ANSWER}"
    if not 0.0 <= step.temperature <= 2.0:
        return "temperature", "from 0 to 2"
    if step.model is not None and not (0 < len(step.model) <= 128 and step.model.isprintable()):
        return "model", "a model id has 1 to 128 printable characters"
    if step.mode == "map" and step.group is not None:
        return "group", "only a reduce step groups its inputs"
    if step.group is not None and not 2 <= step.group <= 1024:
        return "group", "from 2 to 1024"
    if step.mode == "reduce" and step.over == SEGMENTS:
        return "over", "a reduce goes over the answers of another step: map the segments first"
    return None


def _ordered(file: str, steps: tuple[ChainStep, ...]) -> tuple[ChainStep, ...]:
    """Steps in order of dependency with the chain's one end last; refuses anything else."""
    by_name: dict[str, ChainStep] = {}
    for index, step in enumerate(steps):
        if step.name in by_name:
            _refuse(file, f"field `steps[{index}].name`: {step.name!r} is there twice")
        by_name[step.name] = step
    for index, step in enumerate(steps):
        if step.over != SEGMENTS and step.over not in by_name:
            names = ", ".join([SEGMENTS, *by_name])
            _refuse(file, f"field `steps[{index}].over`: no {step.over!r} here, only {names}")
    ordered: list[ChainStep] = []
    waiting = list(steps)
    done = {SEGMENTS}
    while waiting:
        ready = [step for step in waiting if step.over in done]
        if not ready:
            names = ", ".join(step.name for step in waiting)
            _refuse(file, f"field `steps`: {names} wait for each other in a circle")
        ordered += ready
        done |= {step.name for step in ready}
        waiting = [step for step in waiting if step not in ready]
    used = {step.over for step in steps}
    ends = [step.name for step in ordered if step.name not in used]
    if len(ends) != 1:
        _refuse(file, f"field `steps`: a chain has one end, this one has {', '.join(ends)}")
    end = by_name[ends[0]]
    return (*[step for step in ordered if step is not end], end)


def _readable(error: str) -> str:
    """msgspec's message, with the path in the words of this module."""
    message, _, path = error.partition(" - at `$")
    field = path.strip("`").lstrip(".")
    return f"field `{field}`: {message}" if field else message


def _refuse(file: str, problem: str) -> NoReturn:
    raise UsageError(
        "chain_invalid",
        f"Chain file {file}: {problem}.",
        "Mend the file; `overview` among the built-in templates shows every kind of step.",
    )
