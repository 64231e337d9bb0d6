"""XML of office files and books: nothing outside of it is read, and nothing in it grows."""

import re
from typing import Final

from lxml import etree

from ricochet_orchestrator.extraction.refusal import damaged

_DOCTYPE: Final = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)


def parse(data: bytes, name: str) -> etree._Element:
    """The tree of a part of a file; Refused if it is no XML, or brings definitions of its own.

    Neither office files nor books have any use for a DOCTYPE in these parts, and entities are all
    that it could bring.
    """
    if _DOCTYPE.search(data):
        raise damaged(f"{name} in it defines entities")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_pis=True
    )
    try:
        return etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise damaged(f"{name} in it is not XML") from None
