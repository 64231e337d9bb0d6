"""The Russian catalogue is whole and in step; what people read goes through it.

`python tests/catalogue.py refresh` mends most of what fails here; docs/translation.md tells how.
"""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from babel.messages.mofile import read_mo

import catalogue
import message_templates

ELSEWHERE = (
    "cli/ricochet_cli/mcp_server/",  # an editor's model reads it, in English
    "cli/ricochet_cli/command_table.py",  # help, which is looked up as it is shown
    "cli/ricochet_cli/routing_options.py",  # the same
)
_ENGLISH = {
    *("at risk", "at once", "per day", "per month"),  # keys of JSON, looked up when shown
    "paid access of third parties through Ricochet",  # is signed, for a provider to read
}
_PLACE = re.compile(r"(?<!\{)\{[^{}]*\}")
_COMMAND = re.compile(r"\s*(ricochet|export) ")
"""A command to type is the same in every language."""
_CONSOLE = {"echo", "prompt", "confirm", "print", "write"}
_LOOKED_UP = {
    "t",
    "tn",
    "told",
    "say",
    "note",
    "Typer",
    "Option",
    "Argument",
    "Entry",
    "command",
    "table",
}
"""Calls whose literals are looked up in the catalogue."""


@pytest.fixture(scope="module")
def messages() -> dict[str, catalogue.Message]:
    return catalogue.extracted()


def test_the_catalogue_holds_exactly_the_messages_there_are(
    messages: dict[str, catalogue.Message],
) -> None:
    held = {
        message.id if isinstance(message.id, str) else tuple(message.id)
        for message in catalogue.read()
        if message.id
    }
    wanted = {(m.text, m.plural) if m.plural else m.text for m in messages.values()}
    assert held == wanted, "python tests/catalogue.py refresh"


def test_every_message_has_its_russian() -> None:
    assert catalogue.untranslated(catalogue.read()) == []


def test_translations_have_the_places_and_forms_of_their_messages() -> None:
    held = catalogue.read()
    assert held.num_plurals == 3
    for message in held:
        assert not message.fuzzy, message.id
        forms = [form for form in catalogue.forms(message.string) if form]
        if not message.id or not forms:
            continue
        if isinstance(message.id, str):
            assert sorted(_PLACE.findall(forms[0])) == sorted(_PLACE.findall(message.id)), forms
            assert (forms[0][0], forms[0][-1]) != ("\n", "\n"), message.id
            assert forms[0].startswith("\n") == message.id.startswith("\n"), message.id
        else:
            assert len(forms) == 3, message.id
            for form in forms:
                assert set(_PLACE.findall(form)) == set(_PLACE.findall(message.id[1])), form


def test_no_text_sets_a_sign_before_an_amount_that_has_one() -> None:
    found = [
        (module.path, text) for module in message_templates.modules() for text in twice(module.tree)
    ]
    assert found == []
    spoiled = ast.parse('say("it cost ${cost}", cost=dollars(paid.cost))\nf"${dollars(cost)}"\n')
    assert list(twice(spoiled)) == ["it cost ${cost}", "$"]


def twice(tree: ast.AST) -> Iterator[str]:
    """Texts with a dollar sign before what `dollars` returns, which has one."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(args=[ast.Constant(value=str(text)), *_], keywords=given):
                if any(_signed(one.value) and f"${{{one.arg}}}" in text for one in given):
                    yield text
            case ast.JoinedStr(values=parts):
                for before, after in pairwise(parts):
                    match before, after:
                        case ast.Constant(value=str(text)), ast.FormattedValue(value=value) if (
                            text.endswith("$") and _signed(value)
                        ):
                            yield text


def _signed(value: ast.AST) -> bool:
    match value:
        case ast.Call(func=ast.Name(id="dollars")):
            return True
    return False


def test_what_is_compiled_is_what_is_written() -> None:
    def texts(held: catalogue.Catalog) -> dict[str, tuple[str, ...]]:
        return {
            " | ".join(catalogue.forms(message.id)): catalogue.forms(message.string)
            for message in held
            if message.id and any(catalogue.forms(message.string))
        }

    with catalogue.COMPILED.open("rb") as file:
        assert texts(read_mo(file)) == texts(catalogue.read()), "python tests/catalogue.py refresh"


def test_no_command_prints_past_the_catalogue() -> None:
    makers = message_templates.makers()
    found = {
        module.path: past
        for module in message_templates.modules()
        if module.path.startswith("cli/")
        and not module.path.startswith(ELSEWHERE)
        and (past := list(escaping(module.tree, makers)))
    }
    assert found == {}


def test_a_text_that_is_past_the_catalogue_is_seen() -> None:
    tree = ast.parse(
        'say(f"{n} keys are ready")\n'
        'typer.echo("done")\n'
        'lines = ["no keys yet"]\n'
        'say("no keys yet")\nt("{n} keys", n=n)\n'
        'raise UsageError("bad", f"{n} is not one", "give one of them")\n'
    )
    assert list(escaping(tree, message_templates.MADE | {"UsageError": (1, 2)})) == [
        "{} keys are ready",
        "done",
        "no keys yet",
    ]


def escaping(node: ast.AST, makers: dict[str, tuple[int, ...]]) -> Iterator[str]:
    """Texts of several words, and literals given to the terminal, that are not looked up."""
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            return
        case ast.Assign() | ast.AnnAssign() if catalogue.is_header(node):
            return
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if (
            name in _LOOKED_UP or name in makers or name == "__init__"
        ):
            for inner in ast.walk(node):
                if isinstance(inner, ast.JoinedStr) and name in _LOOKED_UP and _prose(inner):
                    yield _prose(inner)
            return
        case ast.Call(func=ast.Attribute(attr=name), args=[ast.Constant(value=str(text)), *_]) if (
            name in _CONSOLE and re.search(r"[A-Za-z]{2}", text)
        ):
            yield text
        case ast.JoinedStr() if text := _prose(node):
            yield text
        case ast.Constant(value=str(text)) if re.search(
            r"[A-Za-z]{2,} [A-Za-z]{2,}", text
        ) and not (_COMMAND.match(text) or text in _ENGLISH):
            yield text
        case _:
            for child in ast.iter_child_nodes(node):
                yield from escaping(child, makers)


def _prose(node: ast.JoinedStr) -> str:
    """An f-string's words, "" when it has none."""
    text = "".join(
        str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
    )
    if _COMMAND.match(text):
        return ""
    return text if re.search(r"[A-Za-z]{2,}:? | [A-Za-z]{2,}", text) else ""
