"""How prompts and answers that were kept are shown to the node's owner.

Subscribers and models wrote them, so no control character of theirs reaches the terminal.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from ricochet_cli.language import t
from ricochet_cli.logs_view import as_row, plain
from ricochet_node.content_log import ContentRecord
from ricochet_orchestrator.progress import printable


def plain_content(content: ContentRecord) -> dict[str, Any]:
    """For JSON: the request's record, and what was said in it."""
    said: dict[str, Any] = msgspec.to_builtins(content)
    return {**plain(content.record), **{k: v for k, v in said.items() if k != "record"}}


def content_text(content: ContentRecord) -> str:
    """For a person: the request's line, then each turn, then the answer."""
    return "\n".join((as_row(content.record), *_said(content)))


def _said(content: ContentRecord) -> Iterator[str]:
    for turn in content.turns:
        yield _block(turn.role, turn.content)
        for call in turn.tool_calls:
            yield _block(t("calls"), f"{call.name}({call.arguments})")
    for tool in content.tools:
        yield _block(t("may call"), f"{tool.name}: {tool.description}")
    if content.text or not content.calls:
        yield _block(t("answer"), content.text or t("(none was delivered)"))
    for called in content.calls:
        yield _block(t("answer calls"), f"{called.name}({called.arguments})")


def _block(name: str, text: str) -> str:
    # Indented, so that no text can pass for a heading of ours.
    return f"  {name}:\n" + "\n".join(f"    {printable(line)}" for line in text.split("\n"))
