"""HTML, and the XHTML inside EPUB, to Markdown: headings, paragraphs, lists, tables, code.

The parser is libxml2's for HTML: it accepts whatever is called HTML, knows no external entities,
and loads nothing. Scripts, styles, embedded things and images are left out; of links the text is
kept.
"""

import re
from typing import Final

from lxml import etree

from ricochet_orchestrator.extraction.markdown import Markdown
from ricochet_orchestrator.extraction.refusal import Extracted, damaged

_LEFT_OUT_NAMES: Final = """
audio canvas head iframe math noscript object script select style svg template video
"""
_LEFT_OUT: Final = frozenset(_LEFT_OUT_NAMES.split())
_INLINE_NAMES: Final = """
a abbr b bdi bdo big button cite code data del dfn em font i img input ins kbd label mark q rp rt
ruby s samp small span strike strong sub sup time tt u var wbr
"""
_INLINE: Final = frozenset(_INLINE_NAMES.split())
_HEADING: Final = re.compile(r"h([1-6])")


def extract(data: bytes) -> Extracted:
    """The text of a page in UTF-8."""
    markdown = Markdown()
    write(parse(data, "utf-8"), markdown)
    return Extracted(markdown.text)


def parse(data: bytes, encoding: str) -> etree._Element:
    """The tree of a page; Refused when there is nothing in it."""
    parser = etree.HTMLParser(
        encoding=encoding, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise damaged("it is not HTML") from None
    if root is None:
        raise damaged("it is not HTML")
    return root


def title_of(root: etree._Element) -> str:
    """The first heading, or the page's title."""
    for name in ("h1", "h2", "title", "h3"):
        for element in root.iter(name):
            title = " ".join(_all_text(element).split())
            if title:
                return title
    return ""


def write(root: etree._Element, markdown: Markdown) -> None:
    """Add a tree's text, without recursion: pages can be nested as deep as they like."""
    writer = _Writer(markdown)
    walker = etree.iterwalk(root, events=("start", "end"))
    for event, element in walker:
        name = element.tag if isinstance(element.tag, str) else ""
        if event == "start":
            if name in _LEFT_OUT:
                walker.skip_subtree()
            elif name == "pre":
                writer.end_block()
                markdown.code(_all_text(element))
                walker.skip_subtree()
            else:
                writer.start(name, element.text or "")
        else:
            if name not in _LEFT_OUT and name != "pre":
                writer.end(name)
            writer.inline(element.tail or "")
    writer.end_block()


def _all_text(element: etree._Element) -> str:
    return "".join(str(text) for text in element.itertext())


class _Writer:
    """Collects the words of a block, and knows what the block is when it ends."""

    def __init__(self, markdown: Markdown) -> None:
        self._markdown = markdown
        self._words: list[str] = []
        self._breaks = False
        self._heading = 0
        # For each list that is open, the number of its next item, None where items have none.
        self._lists: list[int | None] = []
        self._item = False

    def start(self, name: str, text: str) -> None:
        if name == "br":
            self._words.append("\n")
            self._breaks = True
        elif name not in _INLINE and name != "":
            self.end_block()
            self._open(name)
        self.inline(text)

    def end(self, name: str) -> None:
        if name in _INLINE or name in ("", "br"):
            return
        self.end_block()
        if name in ("td", "th"):
            self._markdown.close_cell()
        elif name == "tr":
            self._markdown.close_row()
        elif name == "table":
            self._markdown.end_table()
        elif name in ("ul", "ol") and self._lists:
            self._lists.pop()
            if not self._lists:
                self._markdown.end_list()
        elif name == "li":
            self._item = False
        elif _HEADING.fullmatch(name):
            self._heading = 0

    def inline(self, text: str) -> None:
        if text:
            self._words.append(re.sub(r"\s+", " ", text) if self._breaks or "\n" in text else text)

    def end_block(self) -> None:
        text = "".join(self._words)
        breaks, self._words, self._breaks = self._breaks, [], False
        if not text.strip():
            return
        if self._heading:
            self._markdown.heading(self._heading, text)
        elif self._item and self._lists:
            number = self._lists[-1]
            self._markdown.item(text, len(self._lists), number)
            self._lists[-1] = None if number is None else number + 1
            self._item = False
        else:
            self._markdown.paragraph(text, breaks)

    def _open(self, name: str) -> None:
        heading = _HEADING.fullmatch(name)
        if heading:
            self._heading = int(heading[1])
        elif name in ("ul", "ol"):
            self._lists.append(1 if name == "ol" else None)
        elif name == "li":
            self._item = True
        elif name == "tr":
            self._markdown.open_row()
        elif name in ("td", "th"):
            self._markdown.open_cell()
