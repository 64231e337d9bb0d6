"""What a person may read, found in the sources: errors and console texts as templates.

An error stays an f-string where it is raised. Its template is that f-string with numbered places:
`f"no key {name!r}"` is `no key {0}`. A word that a condition chooses is written out, one template a
choice, so that a translation never has to glue words together. Names are followed to what the same
function assigns to them, entries to the table they are of, functions to what they return, and
parameters to what callers in the same module pass, because many modules raise through a function of
their own.

What cannot be followed counts as a place: a translation has that part as it was.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice, product
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("protocol", "network", "settlement", "node", "orchestrator", "cli")
MADE: Final = {
    "RicochetError": (1, 2),
    "Finding": (0, 2, 3),
    "Refused": (1, 2),
    "NotAChainError": (1,),
    "ValueError": (0,),
    "kept": (3,),
}
"""Calls that make something a person reads, and which arguments that is."""
RETURNED: Final = ("words", "resume_hint", "raise_retries", "no_result", "explained")
"""Functions whose results are told."""
TABLES: Final = ("WORDS",)
"""Tables whose values are told."""
_KEYWORDS: Final = {"message": 0, "hint": 1}
_PLACE: Final = "\0"
_MOST: Final = 24
"""Templates of one expression; with more choices than that, the later ones are places."""

Pieces = tuple[str, ...]


@dataclass
class Module:
    """One parsed file: its functions by name, and the texts it makes."""

    path: str
    tree: ast.Module
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = field(default_factory=dict)
    classes: list[ast.ClassDef] = field(default_factory=list)
    calls: list[tuple[ast.AST, ast.Call]] = field(default_factory=list)
    """Each with the innermost function around it."""
    constants: dict[str, list[ast.expr]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        waiting: list[tuple[ast.AST, ast.AST]] = [(self.tree, self.tree)]
        while waiting:
            node, scope = waiting.pop()
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    self.functions[name] = scope = node
                case ast.ClassDef():
                    self.classes.append(node)
                case ast.Call():
                    self.calls.append((scope, node))
            waiting.extend((child, scope) for child in ast.iter_child_nodes(node))
        for statement in self.tree.body:
            for name, value in _assigned(statement):
                self.constants[name].append(value)


@cache
def modules() -> tuple[Module, ...]:
    """Every file of the packages."""
    files = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return tuple(
        Module(str(file.relative_to(ROOT)), ast.parse(file.read_text("utf-8"))) for file in files
    )


@cache
def makers() -> dict[str, tuple[int, ...]]:
    """`MADE` with every class that is derived from one of them and is made in the same way."""
    found = dict(MADE)
    classes = [node for module in modules() for node in module.classes]
    size = 0
    while size != len(found):
        size = len(found)
        for node in classes:
            for base in node.bases:
                if isinstance(base, ast.Name) and base.id in found:
                    found.setdefault(node.name, found[base.id])
    return found


def error_templates() -> Iterator[tuple[str, str]]:
    """(file, template) of all that errors and findings say."""
    known = makers()
    for module in modules():
        yield from ((module.path, template) for template in _Reader(module, known).all())


class _Reader:
    """Reads one module; `all` gives its templates, each once."""

    def __init__(self, module: Module, known: dict[str, tuple[int, ...]]) -> None:
        self._module = module
        self._known = known
        self._flows: set[tuple[str, str]] = set()
        """Parameters (function, name) that end in a message."""

    def all(self) -> dict[str, None]:
        found: dict[str, None] = {}
        for expression, scope in self._messages():
            for template in self._templates(expression, scope):
                found[template] = None
        done: set[tuple[str, str]] = set()
        while self._flows - done:
            flow = min(self._flows - done)
            done.add(flow)
            for expression, scope in self._passed(*flow):
                for template in self._templates(expression, scope):
                    found[template] = None
        return found

    def _messages(self) -> Iterator[tuple[ast.expr, ast.AST]]:
        for scope, call in self._module.calls:
            positions = self._known.get(_called(call, scope, self._module))
            if positions is None:
                continue
            for index in positions:
                if index < len(call.args):
                    yield call.args[index], scope
            for keyword in call.keywords:
                if keyword.arg in _KEYWORDS:
                    yield keyword.value, scope

        for function in RETURNED:
            scope = self._module.functions.get(function)
            for node in ast.walk(scope) if scope else ():
                if isinstance(node, ast.Return) and node.value and scope:
                    yield node.value, scope
        for name in TABLES:
            for value in self._module.constants.get(name, []):
                if isinstance(value, ast.Dict):
                    yield from ((one, self._module.tree) for one in value.values)

    def _passed(self, function: str, name: str) -> Iterator[tuple[ast.expr, ast.AST]]:
        """What the module's calls pass for a parameter."""
        arguments = self._module.functions[function].args
        names = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
        for scope, call in self._module.calls:
            if isinstance(call.func, ast.Attribute):
                called, skip = call.func.attr, names[:1] in (["self"], ["cls"])
            else:
                called, skip = _name(call.func), False
            if called != function:
                continue
            for position, value in zip(names[skip:], call.args, strict=False):
                if position == name:
                    yield value, scope
            yield from ((one.value, scope) for one in call.keywords if one.arg == name)

    def _templates(self, expression: ast.expr, scope: ast.AST) -> Iterator[str]:
        for pieces in self._read(expression, scope, 0):
            template = numbered(pieces)
            if template not in ("", "{0}"):
                yield template

    def _read(self, node: ast.expr, scope: ast.AST, depth: int) -> list[Pieces]:
        """What the expression may be, each as texts and places."""
        if depth > 6:
            return [(_PLACE,)]
        match node:
            case ast.Constant(value=str(text)):
                return [(text,)]
            case ast.JoinedStr(values=parts):
                return self._joined(list(parts), scope, depth)
            case ast.FormattedValue(value=value, format_spec=None, conversion=-1):
                return self._read(value, scope, depth + 1)
            case ast.IfExp(body=body, orelse=orelse):
                return [*self._read(body, scope, depth + 1), *self._read(orelse, scope, depth + 1)]
            case ast.BoolOp(op=ast.Or(), values=values):
                return [pieces for value in values for pieces in self._read(value, scope, depth)]
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._joined([left, right], scope, depth)
            case ast.Call(func=ast.Attribute(value=inner, attr="strip" | "rstrip")):
                return self._read(inner, scope, depth)
            case ast.Lambda(body=body):
                return self._read(body, scope, depth)
            case ast.Subscript(value=ast.Name(id=name)):
                return self._entries(name, scope, depth)
            case ast.Name(id=name) if function := self._module.functions.get(name):
                return self._returned(function, depth)
            case ast.Name(id=name):
                return self._named(name, scope, depth)
            case _:
                return [(_PLACE,)]

    def _joined(self, parts: list[ast.expr], scope: ast.AST, depth: int) -> list[Pieces]:
        read = [self._read(part, scope, depth + 1) for part in parts]
        choices = 1
        for index, found in enumerate(read):
            choices *= len(found)
            if choices > _MOST:
                choices //= len(found)
                read[index] = [(_PLACE,)]
        return [sum(one, ()) for one in islice(product(*read), _MOST)]

    def _entries(self, name: str, scope: ast.AST, depth: int) -> list[Pieces]:
        values = [value for node in ast.walk(scope) for at, value in _assigned(node) if at == name]
        texts = [
            one
            for value in (*values, *self._module.constants.get(name, []))
            if isinstance(value, ast.Dict)
            for entry in value.values
            for one in self._read(entry, scope, depth + 1)
        ]
        return texts or [(_PLACE,)]

    def _returned(self, function: ast.AST, depth: int) -> list[Pieces]:
        return [
            one
            for node in ast.walk(function)
            if isinstance(node, ast.Return) and node.value
            for one in self._read(node.value, function, depth + 1)
        ]

    def _named(self, name: str, scope: ast.AST, depth: int) -> list[Pieces]:
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            values = [
                value for node in ast.walk(scope) for at, value in _assigned(node) if at == name
            ]
            arguments = scope.args
            if any(
                one.arg == name
                for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
            ):
                self._flows.add((scope.name, name))
                return [(_PLACE,)]
            if values:
                return [one for value in values for one in self._read(value, scope, depth + 1)]
        values = self._module.constants.get(name, [])
        texts = [value for value in values if isinstance(value, ast.Constant | ast.JoinedStr)]
        return [one for value in texts for one in self._read(value, scope, depth + 1)] or [
            (_PLACE,)
        ]


def numbered(pieces: Pieces) -> str:
    """The pieces as one template; places side by side are one."""
    merged: list[str] = []
    for piece in pieces:
        if piece == "" or (piece == _PLACE and merged[-1:] == [_PLACE]):
            continue
        merged.append(piece)
    if _PLACE not in merged:
        return "".join(merged)
    number = iter(range(len(merged)))
    return "".join(
        f"{{{next(number)}}}" if piece == _PLACE else piece.replace("{", "{{").replace("}", "}}")
        for piece in merged
    )


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            yield name, value
        case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
            for target, value in zip(names, values, strict=False):
                if isinstance(target, ast.Name):
                    yield target.id, value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, value


def _called(call: ast.Call, scope: ast.AST, module: Module) -> str:
    match call.func:
        case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__"):
            return "RicochetError" if isinstance(scope, ast.FunctionDef) else ""
        case ast.Attribute(attr=name):
            return name
    return _name(call.func)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""
