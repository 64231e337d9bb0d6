"""DOCX to Markdown: body, tables, footnotes and endnotes, as they read with all changes accepted.

Headings are paragraphs whose style is one (by name or outline level, inherited too). Left out:
headers and footers, comments, deleted text, field codes, and the second copy of text boxes that is
there for old programs.
"""

import re
from typing import Final

from lxml import etree

from ricochet_orchestrator.extraction.archive import Archive
from ricochet_orchestrator.extraction.markdown import Markdown
from ricochet_orchestrator.extraction.refusal import Extracted
from ricochet_orchestrator.extraction.xml import parse

_W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_LEFT_OUT: Final = frozenset(
    {_FALLBACK, *(_W + name for name in ("del", "moveFrom", "instrText", "delText", "sectPr"))}
)
_CHARACTERS: Final = {
    f"{_W}tab": "\t",
    f"{_W}br": "\n",
    f"{_W}cr": "\n",
    f"{_W}noBreakHyphen": "\u2011",
}
_NAMED: Final = re.compile(r"heading ([1-6])|(title)", re.IGNORECASE)
_DEEPEST: Final = 20
"""Styles that a style inherits from, at most; a file may make them a circle."""
_BODY: Final = "word/document.xml"
_NOTES: Final = ("word/footnotes.xml", "word/endnotes.xml")


def extract(data: bytes) -> Extracted:
    """The text of a DOCX file."""
    archive, markdown = Archive(data), Markdown()
    body = parse(archive.read(_BODY), _BODY)
    levels = _levels(archive)
    _write(body, levels, markdown)
    for name in _NOTES:
        if name in archive:
            _write(parse(archive.read(name), name), levels, markdown)
    return Extracted(markdown.text)


def _levels(archive: Archive) -> dict[str, int]:
    """The heading level of each style that has one."""
    if "word/styles.xml" not in archive:
        return {f"Heading{level}": level for level in range(1, 7)}
    own: dict[str, int] = {}
    based: dict[str, str] = {}
    for style in parse(archive.read("word/styles.xml"), "word/styles.xml").iter(f"{_W}style"):
        key = style.get(f"{_W}styleId", "")
        named = _NAMED.fullmatch(_value(style, "name"))
        outline = _value(style, "pPr/outlineLvl")
        if named:
            own[key] = int(named[1] or 1)
        elif outline.isdecimal() and int(outline) < 6:
            own[key] = int(outline) + 1
        based[key] = _value(style, "basedOn")
    levels = {}
    for key in based:
        at = key
        for _ in range(_DEEPEST):
            if at in own or at not in based:
                break
            at = based[at]
        if at in own:
            levels[key] = own[at]
    return levels


def _value(element: etree._Element, path: str) -> str:
    found = element.find("/".join(_W + name for name in path.split("/")))
    return "" if found is None else found.get(f"{_W}val", "")


def _write(root: etree._Element, levels: dict[str, int], markdown: Markdown) -> None:
    words: list[str] = []
    listed = False
    walker = etree.iterwalk(root, events=("start", "end"))
    paragraphs: list[etree._Element] = []
    for event, element in walker:
        name = element.tag
        if event == "start":
            if name in _LEFT_OUT:
                walker.skip_subtree()
            elif name == f"{_W}t":
                words.append(element.text or "")
            elif name in _CHARACTERS and element.getparent() is not None:
                words.append(_CHARACTERS[str(name)] if _in_run(element) else "")
            elif name == f"{_W}p":
                # A text box stands inside a paragraph: what came before it is written first.
                if paragraphs:
                    listed = _end(paragraphs[-1], words, levels, listed, markdown)
                paragraphs.append(element)
            elif name == f"{_W}tbl" and listed:
                markdown.end_list()
                listed = False
            elif name == f"{_W}tr":
                markdown.open_row()
            elif name == f"{_W}tc":
                markdown.open_cell()
        elif name == f"{_W}p":
            listed = _end(paragraphs.pop(), words, levels, listed, markdown)
        elif name == f"{_W}tc":
            markdown.close_cell()
        elif name == f"{_W}tr":
            markdown.close_row()
        elif name == f"{_W}tbl":
            markdown.end_table()


def _in_run(element: etree._Element) -> bool:
    parent = element.getparent()
    return parent is not None and parent.tag == f"{_W}r"


def _end(
    paragraph: etree._Element,
    words: list[str],
    levels: dict[str, int],
    listed: bool,
    markdown: Markdown,
) -> bool:
    """Write a paragraph's words, and forget them; whether it was an item of a list."""
    text = "".join(words)
    words.clear()
    if not text.strip():
        return listed
    level = levels.get(_value(paragraph, "pPr/pStyle"))
    item = level is None and paragraph.find(f"{_W}pPr/{_W}numPr") is not None
    if listed and not item:
        markdown.end_list()
    if level is not None:
        markdown.heading(level, text)
    elif item:
        depth = _value(paragraph, "pPr/numPr/ilvl")
        markdown.item(text, min(int(depth), 8) + 1 if depth.isdecimal() else 1)
    else:
        markdown.paragraph(text, breaks=True)
    return item
