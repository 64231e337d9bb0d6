"""Prompts of an editor's menu, one for each chain: run it, look on, and show what comes of it.

Chains are looked up when they are asked for, so a new one is there at once. A file that is no chain
is left out here; `chain_list` says what is wrong with it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    GetPromptResult,
    Prompt,
    PromptArgument,
    PromptMessage,
    TextContent,
)

from ricochet_cli.mcp_server import chain_shelf
from ricochet_cli.mcp_server.replies import clean
from ricochet_protocol.errors import RicochetError

if TYPE_CHECKING:
    from ricochet_orchestrator.chain_language import Chain

FILES: Final = "files"
_STEPS: Final = """
1. Call chain_run with this chain, these files and parameters. If the user has set no limit, ask \
first with estimate_only what it costs, and tell the user.
2. Tell the user the run's id. Call monitor_chain with wait_seconds 30 and show its box, again and \
again until the run has ended.
3. Show the result, from chain_result, as it is, with its sources. If the run stopped with an \
error, tell the user the error and its hint.
"""


def listed(home: Path) -> list[Prompt]:
    """The prompts, in order of name."""
    return [
        Prompt(
            name=name,
            title=f"Ricochet: {name}",
            description=clean(chain.description),
            arguments=[
                PromptArgument(
                    name=FILES, description="Files or folders of the project.", required=True
                ),
                *(
                    PromptArgument(
                        name=each,
                        description=clean(one.description),
                        required=one.default is None,
                    )
                    for each, one in chain.parameters.items()
                    if each != FILES
                ),
            ],
        )
        for name, chain in _chains(home).items()
    ]


def given(home: Path, name: str, arguments: dict[str, str]) -> GetPromptResult:
    """A prompt for these arguments; MCPError for what there is none of."""
    chains = _chains(home)
    if name not in chains:
        raise _bad(f"There is no prompt {name[:64]!r}. Known: {', '.join(chains)}.")
    chain = chains[name]
    known = {FILES, *chain.parameters}
    if unknown := sorted(set(arguments) - known):
        raise _bad(f"{name} does not know {unknown[0][:64]!r}. It takes: {', '.join(known)}.")
    needed = [FILES, *(each for each, one in chain.parameters.items() if one.default is None)]
    if missing := [each for each in needed if not arguments.get(each, "").strip()]:
        raise _bad(f"{name} needs {missing[0]!r}.")
    values = [f"{each}: {arguments[each]}" for each in chain.parameters if each in arguments]
    head = [f"Run the Ricochet chain {name!r} over: {arguments[FILES]}", *values]
    text = clean("\n".join(head) + "\n" + _STEPS)
    message = PromptMessage(role="user", content=TextContent(type="text", text=text))
    return GetPromptResult(description=clean(chain.description), messages=[message])


def _chains(home: Path) -> "dict[str, Chain]":
    found: dict[str, Chain] = {}
    for name, path in chain_shelf.paths(home).items():
        try:
            found[name] = chain_shelf.chain(path)
        except RicochetError:
            continue
    return found


def _bad(problem: str) -> MCPError:
    return MCPError(code=INVALID_PARAMS, message=clean(problem))
