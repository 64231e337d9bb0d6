"""The values of a chain's parameters in one run: what was given, else the default."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from ricochet_orchestrator.chain_language import Chain
from ricochet_protocol.errors import UsageError

MAX_VALUE: Final = 64 * 1024
"""Bytes: a value stands in every prompt that names it."""


def resolved(chain: Chain, given: Mapping[str, str]) -> dict[str, str]:
    """A value for each parameter; UsageError for one that is missing, unknown, blank or huge."""
    unknown = sorted(set(given) - set(chain.parameters))
    if unknown:
        known = ", ".join(chain.parameters) or "none"
        raise UsageError(
            "parameter_unknown",
            f"The chain {chain.name} has no parameter {unknown[0]!r}.",
            f"Its parameters: {known}.",
        )
    values: dict[str, str] = {}
    for name, parameter in chain.parameters.items():
        value = given.get(name, parameter.default)
        if value is None:
            needs = f"The chain {chain.name} needs the parameter {name!r}."
            if parameter.description:
                needs = (
                    f"The chain {chain.name} needs the parameter {name!r}: {parameter.description}"
                )
            raise UsageError(
                "parameter_missing",
                needs,
                f"Add --set {name}=TEXT, or --set-file {name}=FILE.",
            )
        if not value.strip() or len(value.encode()) > MAX_VALUE:
            raise UsageError(
                "parameter_bad",
                f"The parameter {name!r} is blank or longer than {MAX_VALUE // 1024} KiB.",
                "A long text belongs into the document.",
            )
        values[name] = value
    return values


def given(texts: Iterable[str], files: Iterable[str]) -> dict[str, str]:
    """Values from `name=text` and `name=file`; UsageError for anything else."""
    values: dict[str, str] = {}
    for option, pairs in (("--set", texts), ("--set-file", files)):
        for pair in pairs:
            name, is_pair, text = pair.partition("=")
            if not is_pair or not name or name in values:
                problem = "given twice" if name in values else "not of the form name=value"
                raise UsageError(
                    "parameter_bad", f"{option} {name}: {problem}.", f"Write {option} name=value."
                )
            values[name] = text if option == "--set" else _read(Path(text))
    return values


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_VALUE + 1).decode().strip()
    except OSError as error:
        problem = error.strerror or "unreadable"
    except UnicodeDecodeError:
        problem = "it is not text in UTF-8"
    raise UsageError(
        "parameter_bad", f"{path} cannot be read: {problem}.", "Give a file of text in UTF-8."
    )
