"""How a result, an error and a crash look to a client, and what of strange text reaches it.

Texts of tasks, documents and peers come from anywhere: control characters and halves of characters,
which no JSON can carry, are taken out of everything that leaves.
"""

import json
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Final

from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.types import CallToolResult, TextContent
from pydantic import ValidationError

from ricochet_orchestrator.printing import printable
from ricochet_protocol.errors import RicochetError

MAX_PROBLEMS: Final = 5


def told(text: str, structured: Mapping[str, Any]) -> CallToolResult:
    """A result: text for the chat, and the same for programs."""
    return CallToolResult(
        content=[TextContent(type="text", text=clean(text))],
        structured_content=clean(dict(structured)),
    )


def clean(value: Any) -> Any:
    """A value with texts that can be shown and sent."""
    if isinstance(value, str):
        if value.isascii() and value.isprintable():
            return value
        return printable(value).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {clean(name): clean(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [clean(one) for one in value]
    return value


def failed(code: str, message: str, hint: str) -> CallToolResult:
    """An error that the model reads: what happened and what to do next."""
    document = {"error": {"code": code, "message": clean(message), "hint": clean(hint)}}
    text = json.dumps(document, ensure_ascii=False)
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def failure(tool: str, error: ToolError) -> CallToolResult:
    """What became of a call that raised."""
    cause = error.__cause__
    if isinstance(cause, RicochetError):
        return failed(cause.code, cause.message, cause.hint)
    if isinstance(cause, ValidationError):
        return failed("arguments_invalid", _problems(cause), f"See the input schema of {tool}.")
    if isinstance(error, UnexpectedToolError):
        report(cause or error)
        return failed(
            "internal",
            f"{tool} failed: {type(cause or error).__name__}.",
            "The server's standard error says where; editors keep it in a log of MCP servers.",
        )
    return failed("tool_failed", str(error), "See the descriptions of the tools.")


def report(error: BaseException) -> None:
    """Write to standard error where something failed; messages could quote a document."""
    places = "".join(traceback.format_tb(error.__traceback__))
    print(f"{places}{type(error).__name__}", file=sys.stderr, flush=True)


def _problems(error: ValidationError) -> str:
    """Fields and what is wrong with each, without the values."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found[:MAX_PROBLEMS]]
    return "; ".join(lines) + "."
