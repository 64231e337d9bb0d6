"""The server: tools of a tier, resources and prompts, and the way each call goes.

A call is refused or answered; whatever it raises becomes an error that says what to do next.
"""

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, Final

import anyio
from mcp.server import MCPServer
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.stdio import stdio_server
from mcp.types import (
    CallToolResult,
    GetPromptResult,
    InputRequiredResult,
    Prompt,
    Resource,
    ResourceTemplate,
    ToolAnnotations,
)
from pydantic import AnyUrl

from ricochet_cli.mcp_server import prompts, resources
from ricochet_cli.mcp_server.chain_tools import ChainTools
from ricochet_cli.mcp_server.model_tools import ModelTools
from ricochet_cli.mcp_server.network_tools import NetworkTools
from ricochet_cli.mcp_server.open_runs import OpenRuns
from ricochet_cli.mcp_server.project_tools import ProjectTools
from ricochet_cli.mcp_server.replies import failed, failure
from ricochet_cli.mcp_server.run_tools import RunTools
from ricochet_cli.mcp_server.task_tools import TaskTools
from ricochet_cli.mcp_server.toolbox import TOOLS, Tier, shown

NAME: Final = "ricochet"
_INSTRUCTIONS: Final = """\
Ricochet runs chains of language models over documents far larger than a model's window, on a \
peer-to-peer network that is paid from the user's subscription, and keeps the project's tasks.
Run a chain: chain_list, then chain_run; it returns a run's id at once and works on by itself. \
Follow it with monitor_chain, and tell the user the progress it shows; chain_result has the result.
Amounts are in millionths of a dollar. Runs cost money: estimate_only of chain_run tells how much.
Errors have a code, a message and a hint; commands in hints are for the user's terminal.\
"""


class Server(MCPServer[Any]):
    """An MCP server whose errors have codes and hints. Resources and prompts are looked up anew."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.runs = OpenRuns(home)
        super().__init__(
            NAME,
            title="Ricochet",
            instructions=_INSTRUCTIONS,
            version=version("ricochet-network"),
            log_level="ERROR",
        )

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool; all that a tool can raise comes back as a result."""
        tool = self._tool_manager.get_tool(name)
        if tool is None:
            known = ", ".join(one.name for one in self._tool_manager.list_tools())
            return failed(
                "tool_unknown",
                f"There is no tool {name[:64]!r} here.",
                f"Shown: {known}. `ricochet mcp --tools all` shows all.",
            )
        unknown = sorted(set(arguments) - set(tool.parameters["properties"]))
        if unknown:
            takes = ", ".join(tool.parameters["properties"]) or "no arguments"
            return failed(
                "arguments_invalid",
                f"{name} does not know {', '.join(unknown)[:200]!r}.",
                f"It takes: {takes}.",
            )
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            return failure(name, error)

    async def list_resources(self) -> list[Resource]:
        """The latest runs."""
        return await anyio.to_thread.run_sync(resources.listed, self.runs)

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        """What there is of every run."""
        return list(resources.TEMPLATES)

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[Any, Any] | None = None
    ) -> Iterable[ReadResourceContents]:
        """A resource's content; ResourceError."""
        text, media = await anyio.to_thread.run_sync(resources.read, self.runs, str(uri))
        return [ReadResourceContents(content=text, mime_type=media)]

    async def list_prompts(self) -> list[Prompt]:
        """One for each chain."""
        return await anyio.to_thread.run_sync(prompts.listed, self._home)

    async def get_prompt(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        context: Context[Any, Any] | None = None,
    ) -> GetPromptResult:
        """A prompt; MCPError for what there is none of."""
        return await anyio.to_thread.run_sync(prompts.given, self._home, name, arguments or {})

    async def serve(self, reader: BinaryIO, writer: BinaryIO) -> None:
        """Speak with one client over a pair of streams until it closes them."""
        import io

        incoming = anyio.wrap_file(io.TextIOWrapper(reader, encoding="utf-8", errors="replace"))
        outgoing = anyio.wrap_file(io.TextIOWrapper(writer, encoding="utf-8"))
        async with stdio_server(incoming, outgoing) as (received, sent):
            lowlevel = self._lowlevel_server
            await lowlevel.run(received, sent, lowlevel.create_initialization_options())


def make_server(home: Path, tier: Tier) -> Server:
    """A server of this home, for the project in the working folder, with the tools of a tier."""
    server = Server(home)
    holders = (
        ProjectTools(home, server.runs),
        ChainTools(home),
        RunTools(home, server.runs),
        ModelTools(home),
        TaskTools(home),
        NetworkTools(home),
    )
    for name in shown(tier):
        listed = TOOLS[name]
        holder = next(one for one in holders if hasattr(one, name))
        server.add_tool(
            getattr(holder, name),
            name=name,
            title=listed.title,
            description=_description(getattr(holder, name)),
            annotations=ToolAnnotations(
                title=listed.title,
                read_only_hint=listed.effect.reads_only,
                destructive_hint=listed.effect.destroys,
                idempotent_hint=listed.effect.repeatable,
                open_world_hint=listed.effect.leaves_machine,
            ),
        )
    for tool in server._tool_manager.list_tools():
        tool.parameters = {**_lean(tool.parameters), "additionalProperties": False}
        tool.fn_metadata.output_schema = _lean(tool.fn_metadata.output_schema)
    return server


def _lean(schema: Any, names: bool = False) -> Any:
    """A schema without the titles that pydantic makes of names: they cost context and say nothing.

    `names`: the keys of this object are names of properties.
    """
    if isinstance(schema, list):
        return [_lean(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _lean(value, key in ("properties", "$defs") and not names)
        for key, value in schema.items()
        if names or key != "title"
    }


def _description(function: Any) -> str:
    import inspect

    return " ".join(inspect.cleandoc(function.__doc__ or "").split())
