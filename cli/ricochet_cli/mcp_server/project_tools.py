"""Tools about the project and the home: what is here, and what is still missing."""

from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from mcp.types import CallToolResult
from pydantic import Field

from ricochet_cli.mcp_server import chain_shelf
from ricochet_cli.mcp_server.open_runs import OpenRuns
from ricochet_cli.mcp_server.outputs import InitOut, Part, StatusOut
from ricochet_cli.mcp_server.replies import told
from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_protocol.errors import RicochetError, UsageError

if TYPE_CHECKING:
    from ricochet_settlement.deployment import Deployment

_MOVING: Final = frozenset({RunStatus.PENDING, RunStatus.RUNNING})


class ProjectTools:
    """Bound to a home; the project is the working folder."""

    def __init__(self, home: Path, runs: OpenRuns) -> None:
        self._home = home
        self._held = runs

    def ricochet_init(
        self,
        network_file: Annotated[
            str | None,
            Field(description="Path of the network.json that a network's operator gave the user."),
        ] = None,
    ) -> Annotated[CallToolResult, InitOut]:
        """Set Ricochet up for this project: makes its .ricochet folder and, with network_file,
        joins that network. What is there already is kept. Returns the commands that the user still
        has to give in a terminal: wallets and payments are never made here."""
        from ricochet_orchestrator.tasks import task_file
        from ricochet_settlement import deployment

        made: list[str] = []
        mine = self._network()
        if network_file is not None:
            wanted = deployment.load_file(Path(network_file).expanduser())
            if mine is not None and mine != wanted:
                raise UsageError(
                    "other_network",
                    f"{self._home} belongs to {mine.domain.network} already.",
                    "Another network needs another home: set RICOCHET_HOME for the server.",
                )
            if mine is None:
                deployment.save(self._home, wanted)
                made.append(str(self._home / deployment.FILE_NAME))
                mine = wanted
        folder = Path.cwd() / task_file.FOLDER
        if not folder.exists():
            folder.mkdir(parents=True)
            made.append(str(folder))
        steps = self._steps()
        out = InitOut(
            project=str(Path.cwd()),
            home=str(self._home),
            made=made,
            network=None if mine is None else mine.domain.network,
            next=steps,
        )
        lines = [f"Made {', '.join(made)}." if made else "Everything was there already."]
        lines += [f"In a terminal: {step}" for step in steps]
        return told("\n".join(lines), out)

    def ricochet_status(self) -> Annotated[CallToolResult, StatusOut]:
        """Check what Ricochet has to work with here: network, wallet, models, chains, tasks and
        runs, and what is missing. Asks nobody outside this machine."""
        from ricochet_orchestrator.tasks import task_file

        tasks: Counter[str] = Counter()
        parts = [
            self._network_part(),
            self._wallet_part(),
            self._models_part(),
            _chains(self._home),
        ]
        try:
            tasks.update(one["status"] for one in task_file.load(Path.cwd()).tasks())
        except RicochetError as error:
            parts.append(_failed("tasks", error))
        runs, at_work = self._runs()
        out = StatusOut(
            version=version("ricochet-network"),
            project=str(Path.cwd()),
            home=str(self._home),
            parts=parts,
            tasks=dict(tasks),
            runs=runs,
            at_work=at_work,
            next=self._steps(),
        )
        lines = [f"Ricochet {out['version']}, project {out['project']}, home {out['home']}"]
        for one in parts:
            mend = f" → {one['mend']}" if one["mend"] else ""
            lines.append(f"{'✓' if one['ready'] else '✗'} {one['about']}: {one['detail']}{mend}")
        counted = ", ".join(f"{count} {status}" for status, count in tasks.items())
        lines.append(f"Tasks: {counted or 'none'}. Runs: {runs}, at work: {len(at_work)}.")
        return told("\n".join(lines), out)

    def _network(self) -> "Deployment | None":
        from ricochet_settlement import deployment

        there = (self._home / deployment.FILE_NAME).exists()
        return deployment.load(self._home) if there else None

    def _network_part(self) -> Part:
        from ricochet_settlement import deployment

        try:
            found = deployment.load(self._home)
        except RicochetError as error:
            return _failed("network", error)
        return _fine("network", f"{found.domain.network} through {found.rpc}")

    def _wallet_part(self) -> Part:
        from ricochet_settlement import wallet

        try:
            return _fine("wallet", wallet.address_of(self._home / "wallet.json"))
        except RicochetError as error:
            return _failed("wallet", error)

    def _models_part(self) -> Part:
        from ricochet_orchestrator import role_models

        try:
            chosen = role_models.by_role(role_models.layers(self._home, Path.cwd()))
        except RicochetError as error:
            return _failed("models", error)
        roles = ", ".join(f"{role}: {model}" for role, model in chosen.items())
        return _fine("models", roles or "none chosen: what most peers offer")

    def _runs(self) -> tuple[int, list[str]]:
        """How many of the latest runs there are, and those that a process works on."""
        if not self._held.exist:
            return 0, []
        with self._held.look() as runs:
            latest = runs.latest(1000)
            moving = (one.id for one in latest if one.status in _MOVING)
            return len(latest), [run for run in moving if runs.owned(run)]

    def _steps(self) -> list[str]:
        from ricochet_cli.first_steps import Actor, remaining

        return list(remaining(self._home, Actor.SUBSCRIBER, self._network()))


def _chains(home: Path) -> Part:
    try:
        paths = chain_shelf.paths(home)
        return _fine("chains", ", ".join(chain_shelf.chain(one).name for one in paths.values()))
    except RicochetError as error:
        return _failed("chains", error)


def _fine(about: str, detail: str) -> Part:
    return Part(about=about, ready=True, detail=detail, mend="")


def _failed(about: str, error: RicochetError) -> Part:
    return Part(about=about, ready=False, detail=error.message, mend=error.hint)
