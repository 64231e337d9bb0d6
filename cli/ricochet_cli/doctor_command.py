"""`ricochet doctor`: the whole machine, from the program's own parts to the models on offer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ricochet_protocol.findings import Finding


def doctor(
    home: Home,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not join the network to see what is on offer.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check everything on this machine, and name the command that mends what is wrong.

    Program, home folder, network, wallet, chain, settings of this folder, subscription, models,
    editors that are told of the MCP server and, where there is one, the node. It spends nothing and
    asks for no passphrase; it ends with code 1 when something has to be mended.
    """
    import asyncio

    from ricochet_cli.findings_view import show_findings

    show_findings(asyncio.run(_examine(home, offline)), as_json)


async def _examine(home: Path, offline: bool) -> "dict[str, tuple[Finding, ...]]":
    from ricochet_cli.mcp_server.entries import look
    from ricochet_node.doctor import examine_node, is_set_up
    from ricochet_orchestrator.doctor import examine_subscriber
    from ricochet_settlement.examining import examine_basis

    owner = is_set_up(home)
    basis = await examine_basis(home)
    subscriber = await examine_subscriber(home, Path.cwd(), basis, owner=owner, online=not offline)
    return {
        "program": (versions(installed()),),
        "home": basis.findings,
        "subscriber": subscriber,
        "editors": look(Path.cwd()),
        "node": await examine_node(home, basis) if owner else (),
    }


def installed() -> "Iterable[tuple[str, str, str | None]]":
    """Each library that is required at one version: name, that version, and what is there."""
    from importlib.metadata import PackageNotFoundError, requires, version

    for text in requires("ricochet-network") or ():
        name, pinned, wanted = text.partition(";")[0].strip().partition("==")
        if not pinned:
            continue
        try:
            yield name, wanted, version(name)
        except PackageNotFoundError:
            yield name, wanted, None


def versions(pins: "Iterable[tuple[str, str, str | None]]") -> "Finding":
    """Whether the libraries that are fragile are those that were tested."""
    import platform
    from importlib.metadata import version

    from ricochet_protocol.findings import Finding

    text = f"ricochet {version('ricochet-network')}, Python {platform.python_version()}"
    wrong = [
        t("{name} {found}, not {want}", name=name, found=found or t("missing"), want=want)
        for name, want, found in pins
        if found != want
    ]
    if wrong:
        mend = t("in a fresh environment: pip install --require-hashes -r requirements.lock")
        return Finding("versions", "fail", f"{text}; {'; '.join(wrong)}", mend)
    return Finding("versions", "ok", text)
