"""What waits for what: dependencies as a graph, what is wrong with it, and what is ready.

A dependency is an id, as a number or a text. In a subtask, an id without a dot means a sibling if
there is one of that id, else a task. A dependency is met once what it names is completed.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec

from ricochet_orchestrator.tasks.book import Item, Place, find, key, next_id, places, subtasks
from ricochet_orchestrator.tasks.status import WAITING, TaskStatus
from ricochet_protocol.errors import UsageError

Graph = Mapping[str, tuple[str, ...]]
_DONE: Final = TaskStatus.COMPLETED


class Problem(msgspec.Struct, frozen=True):
    """`kind` is duplicate, missing, self, repeated or cycle; `needs` is the dependency at fault."""

    kind: str
    task: str
    needs: str
    message: str


def resolved(place: Place, dependency: int | str) -> str:
    """What an item's dependency names, whether it exists or not."""
    text = key(dependency)
    if place.parent is None or "." in text:
        return text
    sibling = any(key(one["id"]) == text for one in subtasks(place.parent))
    return f"{key(place.parent['id'])}.{text}" if sibling else text


def needs_of(place: Place) -> tuple[str, ...]:
    """All that an item depends on."""
    return tuple(resolved(place, one) for one in place.item.get("dependencies") or ())


def graph_of(tasks: list[Item]) -> Graph:
    """What each item depends on."""
    return {place.ref: needs_of(place) for place in places(tasks)}


def cycle_in(graph: Graph) -> tuple[str, ...]:
    """One circle, its first item again at the end; empty when there is none."""
    finished: set[str] = set()
    for start in graph:
        path: dict[str, None] = {}
        stack = [(start, iter(graph[start]))] if start not in finished else []
        path[start] = None
        while stack:
            node, rest = stack[-1]
            following = next((one for one in rest if one in graph and one not in finished), None)
            if following is None:
                finished.add(node)
                path.pop(node, None)
                stack.pop()
            elif following in path:
                names = list(path)
                return (*names[names.index(following) :], following)
            else:
                path[following] = None
                stack.append((following, iter(graph[following])))
    return ()


def problems(tasks: list[Item]) -> list[Problem]:
    """All that is wrong with ids and dependencies; of circles, the first found."""
    found: list[Problem] = []
    graph = graph_of(tasks)
    for ref, times in Counter(place.ref for place in places(tasks)).items():
        if times > 1:
            found.append(Problem("duplicate", ref, "", f"{times} tasks have the id {ref}"))
    for ref, needs in graph.items():
        for one, times in Counter(needs).items():
            if one == ref:
                found.append(Problem("self", ref, one, f"{ref} depends on itself"))
            elif one not in graph:
                found.append(Problem("missing", ref, one, f"{ref} depends on {one}: no such task"))
            elif times > 1:
                found.append(Problem("repeated", ref, one, f"{ref} names {one} {times} times"))
    circle = cycle_in({ref: tuple(n for n in needs if n != ref) for ref, needs in graph.items()})
    if circle:
        found.append(Problem("cycle", circle[-2], circle[-1], f"circle: {' → '.join(circle)}"))
    return found


def fix(tasks: list[Item]) -> list[Problem]:
    """Give later ones of equal ids new ids, and take away dependencies that cannot be; what was
    wrong. Of a circle, the dependency that closes it goes."""
    fixed = [one for one in problems(tasks) if one.kind == "duplicate"]
    _renumber(tasks)
    for group in (task for task in tasks if subtasks(task)):
        _renumber(subtasks(group))
    while wrong := problems(tasks):
        fixed += wrong
        for one in wrong:
            _drop(find(tasks, one.task), one.needs, keep_first=one.kind == "repeated")
    return fixed


def _renumber(items: list[Item]) -> None:
    seen: set[str] = set()
    for item in items:
        if key(item["id"]) in seen:
            item["id"] = next_id(items)
        seen.add(key(item["id"]))


def _drop(place: Place, needs: str, keep_first: bool = False) -> None:
    kept: list[int | str] = []
    for one in place.item.get("dependencies") or ():
        is_it = resolved(place, one) == needs
        if not is_it or (keep_first and all(resolved(place, other) != needs for other in kept)):
            kept.append(one)
    place.item["dependencies"] = kept


def add(tasks: list[Item], ref: str, needs: str) -> None:
    """Let one item wait for another; UsageError for what is unknown, there already or a circle."""
    place, other = find(tasks, ref), find(tasks, needs)
    if other.ref in needs_of(place):
        raise UsageError(
            "dependency_exists", f"{place.ref} depends on {other.ref} already.", "Nothing to do."
        )
    before = place.item.get("dependencies") or []
    place.item["dependencies"] = [*before, written(place, other.ref)]
    try:
        refuse_circle(tasks)
    except UsageError:
        place.item["dependencies"] = before
        raise


def written(place: Place, ref: str) -> int | str:
    """A dependency as it stands in an item: a number where Task Master writes one."""
    text = ref
    if place.parent is not None:
        parent, _, own = ref.rpartition(".")
        if parent == key(place.parent["id"]):
            text = own
    value: int | str = int(text) if text.isdecimal() and str(int(text)) == text else text
    if resolved(place, value) != ref:
        raise UsageError(
            "dependency_ambiguous",
            f"In {place.ref}, the id {text} means its sibling, not the task {ref}.",
            "Give the sibling another id: ricochet tasks move",
        )
    return value


def refuse_circle(tasks: list[Item]) -> None:
    """UsageError `dependency_cycle` when there is one."""
    circle = cycle_in(graph_of(tasks))
    if circle:
        raise UsageError(
            "dependency_cycle",
            f"These would wait for each other: {' → '.join(circle)}.",
            "Remove one of them: ricochet tasks deps remove TASK --on OTHER",
        )


def remove(tasks: list[Item], ref: str, needs: str) -> None:
    """Let one item no longer wait for another; UsageError `dependency_unknown`."""
    place = find(tasks, ref)
    wanted = key(needs)
    if wanted not in needs_of(place):
        raise UsageError(
            "dependency_unknown",
            f"{place.ref} does not depend on {wanted}.",
            f"It depends on: {', '.join(needs_of(place)) or 'nothing'}.",
        )
    _drop(place, wanted)


def unmet(tasks: list[Item]) -> dict[str, tuple[str, ...]]:
    """For each item what it still waits for; what does not exist counts too."""
    done = {place.ref for place in places(tasks) if place.status is _DONE}
    return {ref: tuple(n for n in needs if n not in done) for ref, needs in graph_of(tasks).items()}


def settle(tasks: list[Item]) -> None:
    """Set those that wait to pending or ready, as their dependencies say."""
    waits = unmet(tasks)
    for place in places(tasks):
        if place.status in WAITING:
            ready = not waits[place.ref]
            place.item["status"] = (TaskStatus.READY if ready else TaskStatus.PENDING).value
