"""Which model a role gets: `models.json` of the project and of the user, and what goes first.

A flag counts before the chain's step, the step before the project's `.ricochet/models.json`, that
before the home's `models.json`; a role without a model in either takes their `main`; what is left
is the network's choice. This module is the only reader of these files, and refuses what it does not
know. `taskmaster` holds what was imported from Task Master's configuration, word for word.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from ricochet_orchestrator.chain_language import ROLES, Chain
from ricochet_orchestrator.chains import available, folders
from ricochet_orchestrator.chains import read as read_chain
from ricochet_orchestrator.placing import place
from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import ModelId
from ricochet_settlement.file_lock import locked

FILE: Final = "models.json"
MAX_FILE: Final = 1024 * 1024
MAIN: Final = "main"
FALLBACK: Final = "fallback"
_ROLE: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class RoleModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model of a role."""

    model: str

    def __post_init__(self) -> None:
        if not 0 < len(self.model) <= 128 or not self.model.isprintable():
            raise ValueError("a model has 1 to 128 printable characters")


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a `models.json` says."""

    roles: dict[str, RoleModel] = {}
    taskmaster: dict[str, Any] = {}

    def __post_init__(self) -> None:
        for role in self.roles:
            if not _ROLE.fullmatch(role):
                raise ValueError(f"{role!r:.60} is no role: lower-case letters, digits, - and _")


class Layer(msgspec.Struct, frozen=True):
    """One file's settings; `name` is project or user."""

    name: str
    path: Path
    settings: ModelSettings


class Chosen(msgspec.Struct, frozen=True):
    """A role's model and where it comes from; None: what most peers offer."""

    role: str
    model: str | None
    origin: str


def project_file(working: Path) -> Path:
    """Where a project's settings are."""
    return working / ".ricochet" / FILE


def user_file(home: Path) -> Path:
    """Where a user's settings are."""
    return home / FILE


def layers(home: Path, working: Path) -> tuple[Layer, ...]:
    """All settings, those that win first; UsageError `models_invalid` for a broken file."""
    places = (("project", project_file(working)), ("user", user_file(home)))
    return tuple(Layer(name, path, read(path)) for name, path in places)


def read(path: Path) -> ModelSettings:
    """The settings in a file, none without one; UsageError `models_invalid`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return ModelSettings()
    except OSError as error:
        raise invalid(path, error.strerror or "unreadable") from None
    if len(data) > MAX_FILE:
        raise invalid(path, "is larger than 1 MiB")
    try:
        return msgspec.json.decode(data, type=ModelSettings)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(path, str(error)) from None


@contextmanager
def changing(path: Path) -> Iterator[list[ModelSettings]]:
    """The settings of a file, as the one item of a list that is to be replaced; under a lock."""
    with locked(path):
        held = [read(path)]
        before = held[0]
        yield held
        if held[0] != before:
            data = msgspec.json.format(msgspec.json.encode(held[0]), indent=2)
            place(path, data + b"\n")


def with_roles(settings: ModelSettings, models: Mapping[str, str]) -> ModelSettings:
    """The settings with models for roles; UsageError `models_bad` for what is no role or model."""
    try:
        new = {role: RoleModel(model) for role, model in models.items()}
        return msgspec.structs.replace(settings, roles={**settings.roles, **new})
    except ValueError as error:
        raise UsageError("models_bad", f"{error}.", "Such as main=MODEL.") from None


def without_roles(settings: ModelSettings, roles: Sequence[str]) -> ModelSettings:
    """The settings without these roles; UsageError `role_unset` for one that has no model."""
    for role in roles:
        if role not in settings.roles:
            known = ", ".join(settings.roles) or "none"
            raise UsageError("role_unset", f"The role {role!r} has no model.", f"Set: {known}.")
    rest = {role: one for role, one in settings.roles.items() if role not in roles}
    return msgspec.structs.replace(settings, roles=rest)


def choose(role: str, found: Sequence[Layer]) -> Chosen:
    """The model of a role that nothing else names."""
    for wanted in (role, MAIN):
        for layer in found:
            one = layer.settings.roles.get(wanted)
            if one is not None:
                return Chosen(
                    role, one.model, layer.name + ("" if wanted == role else f" ({MAIN})")
                )
    return Chosen(role, None, "default")


def fallback(found: Sequence[Layer]) -> ModelId | None:
    """The model of the role `fallback`, which no other role's stands in for."""
    model = by_role(found).get(FALLBACK)
    return None if model is None else ModelId(model)


def by_role(found: Sequence[Layer]) -> dict[str, str]:
    """The models of all roles that have one of their own."""
    models: dict[str, str] = {}
    for layer in reversed(found):
        models |= {role: one.model for role, one in layer.settings.roles.items()}
    return models


def assigned(chain: Chain, flag: ModelId | None, found: Sequence[Layer]) -> Chain:
    """The chain with the model of each step, where one is said anywhere."""
    steps = []
    for step in chain.steps:
        model = flag or step.model or choose(step.role, found).model
        steps.append(msgspec.structs.replace(step, model=None if model is None else ModelId(model)))
    return msgspec.structs.replace(chain, steps=tuple(steps))


def without_chain(home: Path, roles: Iterable[str]) -> tuple[list[str], list[str]]:
    """The roles that are known here, and which of `roles` are none of them.

    Chains name their own; a chain file that cannot be read names none.
    """
    known = dict.fromkeys(ROLES)
    for path in available(folders(home, Path.cwd())).values():
        with suppress(UsageError):
            known |= dict.fromkeys(step.role for step in read_chain(path).steps)
    return list(known), [role for role in roles if role not in known]


def invalid(path: Path, problem: str) -> UsageError:
    """The error for a file that holds no settings."""
    return UsageError(
        "models_invalid",
        f"{path}: {problem}.",
        'It is JSON such as {"roles": {"analyzer": {"model": "NAME"}}}.',
    )
