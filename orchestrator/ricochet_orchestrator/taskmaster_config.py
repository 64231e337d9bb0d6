"""Model settings in Task Master's `config.json`, both ways, losing nothing of either side.

Its roles are main, research and fallback; ours besides stand in `global.ricochet.roles`, which it
keeps (it deletes roles and top-level keys it does not know). Writing merges: an entry whose model
stays is left as it is, with its provider; another becomes `openai-compatible`, at the address of
`ricochet serve`, because it takes a provider it does not know for its default.
"""

import copy
from pathlib import Path
from typing import Any, Final

import msgspec

from ricochet_orchestrator import role_models
from ricochet_orchestrator.placing import place
from ricochet_orchestrator.role_models import ModelSettings
from ricochet_orchestrator.tasks.task_file import json_bytes, read_json
from ricochet_protocol.errors import UsageError

FILE: Final = Path(".taskmaster/config.json")
BASE_URL: Final = "http://127.0.0.1:8790/v1"
"""Where `ricochet serve` is unless it is told another port."""
ROLES: Final = ("main", "research", "fallback")
_NEW: Final = {"maxTokens": 4096, "temperature": 0.2}
"""Task Master wants both; the small models of a network have windows of this order."""
_Tree = dict[str, Any]


def import_config(target: Path, file: Path) -> dict[str, str]:
    """Take the models of a configuration into a `models.json`; what was found, by role."""
    tree = _read(file)
    found = {
        role: entry["modelId"]
        for role in ROLES
        if isinstance((entry := _table(tree, file, "models").get(role)), dict)
        and isinstance(entry.get("modelId"), str)
        and entry["modelId"]
    }
    extra = _table(_table(tree, file, "global"), file, "ricochet").get("roles", {})
    try:
        own = msgspec.convert({"roles": extra}, ModelSettings)
    except msgspec.ValidationError as error:
        raise _invalid(file, f"global.ricochet: {error}") from None
    found |= {role: one.model for role, one in own.roles.items() if role not in ROLES}
    with role_models.changing(target) as held:
        changed = role_models.with_roles(held[0], found)
        held[0] = msgspec.structs.replace(changed, taskmaster=tree)
    return found


def export_config(settings: ModelSettings, file: Path, base_url: str = BASE_URL) -> None:
    """Write models into a configuration, merged with what is in it."""
    there = _read(file) if file.exists() else {}
    tree = _joined(settings.taskmaster, copy.deepcopy(there))
    models, extra = _table(tree, file, "models"), {}
    for role, one in settings.roles.items():
        if role not in ROLES:
            extra[role] = {"model": one.model}
            continue
        entry = models.get(role)
        if not isinstance(entry, dict):
            entry = dict(_NEW)
        if entry.get("modelId") != one.model:
            entry |= {
                "provider": "openai-compatible",
                "modelId": one.model,
                "baseURL": base_url,
            }
        tree.setdefault("models", models)[role] = entry
    if extra:
        own = tree.setdefault("global", {}).setdefault("ricochet", {})
        own["roles"] = {**_table(own, file, "roles"), **extra}
    if tree != there or not file.exists():
        place(file.resolve(), json_bytes(tree))


def _joined(under: _Tree, over: _Tree) -> _Tree:
    """Both trees in one; where both say something, `over` does."""
    tree = copy.deepcopy(under)
    for name, value in over.items():
        old = tree.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        tree[name] = _joined(old, value) if both else value  # type: ignore[arg-type] # both are
    return tree


def _table(tree: _Tree, file: Path, name: str) -> _Tree:
    table = tree.get(name, {})
    if not isinstance(table, dict):
        raise _invalid(file, f"`{name}` is not an object")
    return table


def _read(file: Path) -> _Tree:
    try:
        tree = read_json(file)
    except FileNotFoundError:
        raise UsageError(
            "file_missing", f"{file} does not exist.", "Give Task Master's config.json."
        ) from None
    except UsageError as error:
        raise UsageError("config_invalid", error.message, error.hint) from None
    if not isinstance(tree, dict):
        raise _invalid(file, "is not an object")
    for name in ("models", "global"):
        _table(tree, file, name)
    _table(_table(tree, file, "global"), file, "ricochet")
    return tree


def _invalid(file: Path, problem: str) -> UsageError:
    return UsageError(
        "config_invalid", f"{file}: {problem}.", "The file was left as it is: mend it."
    )
