"""Starts a server; the one module that loads all of it."""

import gc
from pathlib import Path
from typing import BinaryIO

from ricochet_cli.mcp_server.toolbox import Tier


def serve_stdio(home: Path, tier: Tier, reader: BinaryIO, writer: BinaryIO) -> None:
    """Serve one client over a pair of streams until it closes them."""
    import anyio

    # What is made while modules load stays; looking for garbage in it takes a tenth of the start.
    gc.disable()
    from ricochet_cli.mcp_server.server import make_server

    server = make_server(home, tier)
    gc.freeze()
    gc.enable()
    anyio.run(server.serve, reader, writer)
