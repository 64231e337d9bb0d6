"""The Russian catalogue, kept in step with the sources.

    python tests/catalogue.py refresh

finds every message, keeps the translations that still have one, drops the others, compiles the
catalogue, and prints the messages that wait for a translation. Messages come from five places:
`t` and `tn` and literals given to the console in `cli`, the help of the whole command tree, errors
of all packages (`message_templates`), the words of typer that people see, and built-in chains.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final

import typer
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from typer.core import TyperGroup
from typer.main import get_command

import message_templates
from ricochet_cli.command_table import TABLE
from ricochet_cli.language import DOMAIN, LOCALES, flowing
from ricochet_cli.main import app
from ricochet_node.policy import Verdict
from ricochet_orchestrator.breaker import State
from ricochet_orchestrator.chains import TEMPLATES, available
from ricochet_orchestrator.chains import read as read_chain
from ricochet_orchestrator.checkpoint import RunStatus, Status

FOLDER: Final = LOCALES / "ru" / "LC_MESSAGES"
SOURCE: Final = FOLDER / f"{DOMAIN}.po"
COMPILED: Final = FOLDER / f"{DOMAIN}.mo"
TYPER: Final = (
    "Usage: ",
    "Arguments",
    "Options",
    "Commands",
    "Show this message and exit.",
    "required",
    "default: {0}",
    "env var: {0}",
    "Missing command.",
    "Missing argument {0}.",
    "Missing option {0}.",
    "Missing parameter {0}.",
    "No such command {0}.",
    "No such command {0}. Did you mean {1}?",
    "No such option: {0}",
    "No such option: {0} (Possible options: {1})",
    "Got unexpected extra argument(s) ({0})",
    "Option {0} requires an argument.",
    "Option {0} requires {1} arguments.",
    "Option {0} does not take a value.",
    "Argument {0} takes {1} values.",
    "Invalid value: {0}",
    "Invalid value for {0}: {1}",
    "{0} is not a valid integer.",
    "{0} is not a valid int.",
    "{0} is not a valid float.",
    "{0} is not in the range {1}.",
    "{0} is not one of {1}.",
    "File {0} does not exist.",
    "File {0} is a directory.",
    "Directory {0} is a file.",
    "Directory {0} does not exist.",
    "Path {0} does not exist.",
)
"""Of typer 0.28, which marks only some of its words for translation."""
MSGSPEC: Final = (
    "Expected `{0}`, got `{1}`",
    "Object contains unknown field `{0}`",
    "Object missing required field `{0}`",
)
"""What it says most often of a value in a file that people write."""
HEADERS: Final = ("head", "headers", "_HEADERS", "_COLUMNS", "_STATES")
"""Names of what is told when it is shown: headers of tables, and names of states."""
WORDS: Final = ("day", "month", "at once", "per day", "per month", "hours")
"""Keys of JSON that people see as well."""
_HEADER: Final = """\
Russian messages of Ricochet.
The words to use for things are in docs/translation.md."""
_BORN: Final = datetime(2026, 11, 25, tzinfo=UTC)
"""In place of times of extraction, which would make every refresh a change."""


@dataclass
class Message:
    """A message and the files it is in; `plural` is the form for many, "" without a count."""

    text: str
    plural: str = ""
    files: set[str] = field(default_factory=set)


def extracted() -> dict[str, Message]:
    """Every message by its English text."""
    found: dict[str, Message] = {}

    def add(text: str, file: str, plural: str = "") -> None:
        if any(map(str.isalpha, text)) or text == "{0}: {1}":
            message = found.setdefault(text, Message(text))
            message.plural = message.plural or plural
            message.files.add(file)

    for module in message_templates.modules():
        if module.path.startswith("cli/"):
            for text, plural in said(module.tree):
                add(text, module.path, plural)
    for file, text in message_templates.error_templates():
        add(text, file)
    for text in helps():
        add(text, "--help")
    for text in TYPER:
        add(text, "typer")
    for text in MSGSPEC:
        add(text, "msgspec")
    for file, text in templates():
        add(text, file)
    for word in (*RunStatus, *Status, *State, *Verdict, *WORDS):
        add(str(word), "words")
    return found


def said(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(text, plural) of `t` and `tn`, of literals that are said, and of headers of tables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and is_header(node):
            yield from ((text, "") for text in _literals(node.value))
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        match node.func.id, node.args:
            case "tn", [ast.Constant(value=str(one)), ast.Constant(value=str(many)), *_]:
                yield one, many
            case "t" | "say" | "note" | "told" | "print_error", [*values]:
                for value in values:
                    yield from ((text, "") for text in _literals(value))
            case "table", [headers, *_]:
                yield from ((text, "") for text in _literals(headers))


def is_header(node: ast.Assign | ast.AnnAssign) -> bool:
    """Whether it names the headers of a table, or lines that are looked up when shown."""
    target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
    return isinstance(target, ast.Name) and target.id in HEADERS


def _literals(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=one, orelse=other):
            yield from (*_literals(one), *_literals(other))
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            for part in parts:
                yield from _literals(part)
        case ast.Starred(value=inner):
            yield from _literals(inner)


def templates() -> Iterator[tuple[str, str]]:
    """What the chains that come with us say of themselves and of their parameters."""
    for path in available((TEMPLATES,)).values():
        chain = read_chain(path)
        for text in (chain.description, *(one.description for one in chain.parameters.values())):
            yield f"templates/{path.name}", text


def helps() -> Iterator[str]:
    """The help of every command and option, as it is looked up."""
    for title, entries in TABLE.items():
        yield title
        yield from (entry.help for entry in entries.values())
    yield from map(flowing, _helps(get_command(app)))


def _helps(command: Any) -> Iterator[str]:
    yield from (text for text in (command.help, command.epilog) if text and text[0] != "\b")
    for parameter in command.params:
        if text := getattr(parameter, "help", None):
            yield text
    if isinstance(command, TyperGroup):
        for one in command.commands.values():
            yield from _helps(one)


def read() -> Catalog:
    """The catalogue as it is committed."""
    with SOURCE.open("rb") as file:
        return read_po(file, locale="ru", domain=DOMAIN)


def renewed(old: Catalog, messages: dict[str, Message]) -> Catalog:
    """The catalogue of these messages, with the translations of the old one."""
    new = Catalog(
        locale="ru",
        domain=DOMAIN,
        header_comment="\n".join(f"# {line}" for line in _HEADER.splitlines()),
        project="ricochet-network",
        version="0.1",
        msgid_bugs_address="",
        last_translator="",
        language_team="Russian",
        creation_date=_BORN,
        revision_date=_BORN,
        fuzzy=False,
    )
    for message in messages.values():
        key = (message.text, message.plural) if message.plural else message.text
        kept = old.get(message.text)
        same = kept is not None and kept.id == key
        locations = [(file, 0) for file in sorted(message.files)]
        added = new.add(key, kept.string if kept and same else "", locations)
        added.flags -= {"python-format", "python-brace-format"}
    return new


def source_bytes(catalogue: Catalog) -> bytes:
    """The catalogue as its file is written."""
    out = BytesIO()
    write_po(out, catalogue, width=100, sort_output=True, include_lineno=False)
    return out.getvalue()


def compiled_bytes(catalogue: Catalog) -> bytes:
    """The catalogue as commands load it."""
    out = BytesIO()
    write_mo(out, catalogue)
    return out.getvalue()


def untranslated(catalogue: Catalog) -> list[Any]:
    """The messages that lack a form."""
    return [
        message.id
        for message in catalogue
        if message.id
        and not all([message.string] if isinstance(message.string, str) else message.string)
    ]


def forms(string: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """The forms of a translation: one, or one for each kind of number."""
    return (string,) if isinstance(string, str) else tuple(string)


def refresh() -> int:
    """Renew both files; 1 while a message waits for its translation."""
    catalogue = renewed(read(), extracted())
    SOURCE.write_bytes(source_bytes(catalogue))
    COMPILED.write_bytes(compiled_bytes(catalogue))
    waiting = untranslated(catalogue)
    for message in waiting:
        typer.echo(message if isinstance(message, str) else " | ".join(message))
    typer.echo(f"{len(catalogue)} messages, {len(waiting)} wait for a translation", err=True)
    return 1 if waiting else 0


if __name__ == "__main__":
    if sys.argv[1:] != ["refresh"]:
        sys.exit(__doc__)
    sys.exit(refresh())
