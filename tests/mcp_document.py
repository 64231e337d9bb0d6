"""Writes the table of tools in docs/mcp.md, as the server describes them."""

import asyncio
import re
from pathlib import Path
from typing import Any

from mcp import Client

from ricochet_cli.mcp_server.server import make_server
from ricochet_cli.mcp_server.toolbox import TOOLS, Tier

PATH = Path(__file__).resolve().parents[1] / "docs" / "mcp.md"
BEGIN, END = "<!-- tools: written by tests/mcp_document.py -->\n", "<!-- end of tools -->\n"


def described() -> str:
    async def listed() -> list[Any]:
        async with Client(make_server(Path("home"), Tier.ALL)) as client:
            return (await client.list_tools()).tools

    rows = ["| tool | tier | may | arguments | does |", "|---|---|---|---|---|"]
    for one in asyncio.run(listed()):
        needed = one.input_schema.get("required", [])
        arguments = [
            f"**`{name}`**" if name in needed else f"`{name}`"
            for name in one.input_schema["properties"]
        ]
        effect = TOOLS[one.name].effect
        may = "look" if effect.reads_only else "change" if effect.destroys else "add"
        if effect.leaves_machine:
            may = "look, on the network" if effect.reads_only else "spend"
        does = re.split(r"(?<=[.:;]) ", one.description)[0].rstrip(":;.")
        tier = TOOLS[one.name].tier
        rows.append(f"| `{one.name}` | {tier} | {may} | {', '.join(arguments)} | {does} |")
    return "\n".join(rows) + "\n"


def with_table(text: str) -> str:
    before, rest = text.split(BEGIN)
    return before + BEGIN + described() + END + rest.split(END)[1]


if __name__ == "__main__":
    PATH.write_text(with_table(PATH.read_text("utf-8")), "utf-8")
