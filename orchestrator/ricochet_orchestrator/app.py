"""The composition root: chooses the real network, contract and store, and runs chains over them.

What a person can have got wrong is checked before anything is connected: chain, network
description, wallet. Heavy libraries load inside the functions that need them, so that importing
this module, or listing chains, stays quick.
"""

import asyncio
import shlex
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ricochet_orchestrator import chains
from ricochet_orchestrator.chains import list_chains
from ricochet_orchestrator.context import Context
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.progress import Event
from ricochet_orchestrator.result import RunResult, RunState, summarize
from ricochet_orchestrator.routing import NO_FLAGS, RoutingFlags, files
from ricochet_orchestrator.routing import load as load_routing
from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import Address, ModelId, address

if TYPE_CHECKING:
    from ricochet_orchestrator.peer_reports import PeerRow, RouteRow
    from ricochet_orchestrator.setting import Setting
    from ricochet_orchestrator.spending import Grouping, Spending
    from ricochet_protocol.ids import Period

__all__ = [
    "RunResult",
    "RunState",
    "explain_route",
    "find_spending",
    "list_chains",
    "list_peers",
    "run_chain",
    "run_status",
]

STORE_FILE: Final = "runs.db"


async def run_chain(
    home: Path,
    document: Document,
    chain_name: str,
    on_event: Callable[[Event], None],
    stop: asyncio.Event,
    model: str | None = None,
    seed: int = 0,
    private_nodes: Sequence[str] = (),
    allow_logging: bool = False,
    context: Context | None = None,
    inputs: Sequence[str] = (),
    routing: RoutingFlags = NO_FLAGS,
) -> RunResult:
    """Run a chain over a document and pay for it.

    `model` answers the steps that name none; without it, the one most peers offer. `private_nodes`
    are operators whose private offers count, besides the payer's own account. `allow_logging` lets
    nodes keep prompts and answers. `context` is shown with each segment. `inputs` are the arguments
    that the document came from, for the command that goes on with the run. `routing` goes before
    what `routing.yaml` says. Setting `stop` pauses
    it. Any RicochetError tells what is missing; the same call goes on where it ended.
    """
    chain = chains.get(chain_name, chains.folders(home, Path.cwd()))
    wanted = None if model is None else ModelId(model)
    operators = _operators(private_nodes)
    settings = load_routing(files(home, Path.cwd()), routing)
    async with _setting(home, on_event, seed, operators, allow_logging) as setting:
        from ricochet_orchestrator.run import run_document

        setting = replace(setting, context=context or Context(), routing=settings)
        hint = _resume_hint(inputs, chain_name, model, operators, allow_logging)
        return await run_document(setting, document, chain, wanted, stop, hint)


async def explain_route(
    home: Path,
    model: str,
    prompt_tokens: int,
    max_tokens: int,
    routing: RoutingFlags = NO_FLAGS,
    private_nodes: Sequence[str] = (),
) -> "tuple[RouteRow, ...]":
    """Every peer that offers the model, best first, and why those that are out are out."""
    operators = _operators(private_nodes)
    settings = load_routing(files(home, Path.cwd()), routing)
    async with _setting(home, _unheard, 0, operators, False) as setting:
        from ricochet_orchestrator.peer_reports import explain
        from ricochet_orchestrator.route import Need

        setting = replace(setting, routing=settings)
        return await explain(setting, ModelId(model), Need(prompt_tokens, max_tokens))


async def list_peers(home: Path, offline: bool) -> "tuple[PeerRow, ...]":
    """Peers that are on the network or known from earlier; `offline`: only the latter."""
    from ricochet_orchestrator.peer_reports import remembered, survey

    if not offline:
        async with _setting(home, _unheard, 0, (), False) as setting:
            return await survey(setting)
    path = home / STORE_FILE
    if not path.exists():
        return ()
    from ricochet_orchestrator.store import Store

    store = Store(path)
    try:
        return remembered(store)
    finally:
        store.close()


def run_status(home: Path, run_id: str | None = None) -> RunState:
    """How a run stands, the latest one for None; UsageError when there is no such run."""
    path = home / STORE_FILE
    if not path.exists():
        raise UsageError(
            "no_runs", "No chain has been run here yet.", "Run one: ricochet chain run FILE"
        )
    from ricochet_orchestrator.store import Store

    store = Store(path)
    try:
        run = store.run(run_id)
        if run is None:
            latest = store.run(None)
            raise UsageError(
                "run_unknown" if run_id else "no_runs",
                f"There is no run {run_id!r}." if run_id else "No chain has been run here yet.",
                f"The latest run is {latest.id}." if latest else "ricochet chain run FILE",
            )
        steps = store.steps(run.id)
        result = summarize(run, steps, store.answers(run.id), "Run the same command again.")
        return RunState(run=run, steps=steps, result=result)
    finally:
        store.close()


async def find_spending(home: Path, by: "Grouping", period: "Period | None" = None) -> "Spending":
    """What the home's wallet has spent, of one period or all, held against the chain.

    ConfigurationError without wallet or network; ChainError; LocalFault about the store.
    """
    from ricochet_orchestrator.spending import Held, Signed, add_up
    from ricochet_orchestrator.store import Store
    from ricochet_settlement import deployment, wallet
    from ricochet_settlement.standing import standing

    path = home / STORE_FILE
    subscriber = wallet.address_of(home / "wallet.json")
    chain = await standing(deployment.load(home), subscriber)
    held = {
        (one.period, one.node): Held(one.committed, one.claimed)
        for one in chain.nodes
        if period in (None, one.period)
    }
    if not path.exists():
        return add_up((), {}, held, by)
    store = Store(path)
    try:
        answers = [one for one in store.payments() if period in (None, one.period)]
        signed = {
            (one.period, one.node): Signed(one.accepted, one.signed)
            for one in store.accounts(period)
        }
    finally:
        store.close()
    return add_up(answers, signed, held, by)


@asynccontextmanager
async def _setting(
    home: Path,
    on_event: Callable[[Event], None],
    seed: int,
    private_nodes: tuple[Address, ...],
    allow_logging: bool,
) -> "AsyncIterator[Setting]":
    """Everything a run works with, connected; closed in reverse order whatever happens."""
    from random import SystemRandom

    from ricochet_network.libp2p_transport import Libp2pTransport
    from ricochet_network.peers import PeerNetwork
    from ricochet_orchestrator.account import Payer
    from ricochet_orchestrator.setting import Setting
    from ricochet_orchestrator.store import Store
    from ricochet_protocol.tokens import count_tokens
    from ricochet_settlement import deployment, wallet
    from ricochet_settlement.contract import ContractSettlement
    from ricochet_settlement.hot_key import load_or_create
    from ricochet_settlement.session_key import SESSION_FILE, former_sessions

    network = deployment.load(home)
    subscriber = wallet.address_of(home / "wallet.json")
    session_key = load_or_create(home / SESSION_FILE)
    peer_key = load_or_create(home / "peer.key")
    store = Store(home / STORE_FILE)
    try:
        # The orchestrator only reads the chain, so any key will do for gas it never spends.
        settlement = await ContractSettlement.connect(network, session_key, follow=home)
        try:
            bootstrap = (*network.bootstrap, *await settlement.first_peers(SystemRandom()))
            peers = PeerNetwork(
                Libp2pTransport(peer_key), peer_key, network.domain.network, bootstrap
            )
            try:
                await peers.start()
                yield Setting(
                    peers=peers,
                    settlement=settlement,
                    store=store,
                    payer=Payer(subscriber, network.domain, session_key, former_sessions(home)),
                    count=count_tokens,
                    seed=seed,
                    clock=time.time,
                    tell=on_event,
                    private_nodes=private_nodes,
                    allow_logging=allow_logging,
                )
            finally:
                await peers.stop()
        finally:
            await settlement.close()
    finally:
        store.close()


def _unheard(_: Event) -> None:
    """Looking tells of nothing."""


def _operators(private_nodes: Sequence[str]) -> tuple[Address, ...]:
    try:
        return tuple(address(one) for one in private_nodes)
    except ValueError as error:
        raise UsageError(
            "bad_address", f"private node: {error}", "give the account that `node status` shows"
        ) from None


def _resume_hint(
    inputs: Sequence[str],
    chain: str,
    model: str | None,
    private_nodes: Sequence[Address],
    allow_logging: bool,
) -> str:
    if not inputs:
        return "Run the same command again; finished steps are kept."
    words = ["ricochet", "chain", "run", *inputs, "--chain", chain]
    words += [] if model is None else ["--model", model]
    words += [word for one in private_nodes for word in ("--private-node", one)]
    words += ["--allow-logging"] if allow_logging else []
    return f"Go on with: {shlex.join(words)}"
