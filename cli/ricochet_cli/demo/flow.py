"""The demo from the first process to the last unit, phase by phase.

It does what its users do by hand: every long-lived part is a `ricochet` command in a process of its
own, and only set-up that would ask a person for a passphrase is called in this process. What the
report says about money is read from the chain at the end.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from ricochet_cli.console import hushed, note
from ricochet_cli.demo.people import Person, people
from ricochet_cli.demo.processes import STOP_SECONDS, Child, Children
from ricochet_cli.demo.report import NodeLine, Report
from ricochet_node.admin import settle, status
from ricochet_node.config import write_offer
from ricochet_node.keystore import Keystore
from ricochet_node.local_model import CONTEXT
from ricochet_node.offer import new_offer
from ricochet_node.weights import MODEL_NAME
from ricochet_orchestrator.printing import printable
from ricochet_protocol.errors import ExitCode, LocalFault, RicochetError
from ricochet_protocol.money import UNITS_PER_DOLLAR, Units, dollars
from ricochet_protocol.signing import account_address, peer_of
from ricochet_settlement.audit import Audit, audit
from ricochet_settlement.deploy import deploy
from ricochet_settlement.deployment import Deployment, save
from ricochet_settlement.devchain.accounts import dev_key
from ricochet_settlement.faucet import WEI_PER_ETHER, give
from ricochet_settlement.hot_key import load_or_create
from ricochet_settlement.private_file import write_private
from ricochet_settlement.sender import Outbox
from ricochet_settlement.subscriber import subscribe

OWNERS: Final = ("alice", "bob", "carol")
PRICES: Final = (("0.40", "0.80"), ("0.50", "1.00"), ("0.60", "1.20"))
"""Dollars per million tokens in and out, one pair an owner."""
PLAN: Final = Units(10 * UNITS_PER_DOLLAR)
WALLET_MONEY: Final = Units(20 * UNITS_PER_DOLLAR)
CHAOS_CALLS: Final = 2
"""Calls after which `--chaos` kills a node: it then holds vouchers that must not be lost."""
_POLL_SECONDS: Final = 0.2
_MODEL_SECONDS: Final = 900.0
"""The first start fetches 92 MB of weights."""


@dataclass(frozen=True)
class Upstream:
    """An OpenAI-compatible server to use instead of the local model, one key an owner."""

    url: str
    model: str
    keys: tuple[str, ...]


@dataclass
class Demo:
    """One demo in `folder`; `run` returns its report and leaves the network running."""

    folder: Path
    document: Path
    upstream: Upstream | None
    chaos: bool
    timings: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.children = Children(self.folder)

    async def run(self) -> Report:
        """Everything, in order."""
        start = time.monotonic()
        with self._timed("chain, model, wallets"):
            rpc, upstream, everyone = await self._foundations()
        platform, subscriber, *owners = everyone
        with self._timed("contracts"):
            deployment = await self._contracts(rpc, platform, subscriber, owners)
        with self._timed("nodes"):
            deployment = await self._nodes(deployment, owners, upstream)
        with self._timed("subscription"):
            await self._subscription(deployment, subscriber)
        with self._timed("run"):
            outcome = await self._run(subscriber, owners)
        with self._timed("settlement"):
            await asyncio.gather(*(settle(owner.home) for owner in owners))
            books = await audit(deployment)
        self.timings["total"] = round(time.monotonic() - start, 3)
        return _report(
            deployment, owners, subscriber, outcome, books, self.timings, self._served_by()
        )

    def _served_by(self) -> str:
        """What wrote the answers, where that is the user's own server."""
        own = self.upstream
        return "" if own is None else printable(f"{own.model}, {own.url}")

    async def _foundations(self) -> tuple[str, Upstream, list[Person]]:
        if self.upstream is None:
            note("starting a development chain and a model, making five wallets …")
        else:
            note("starting a development chain, making five wallets …")
        state = str(self.folder / "chain.db")
        chain = self.children.start("chain", ["dev", "chain", "--state", state, "--port", "0"], {})
        upstream, everyone = await asyncio.gather(
            self._model(), people(self.folder, ("platform", "subscriber", *OWNERS))
        )
        return await chain.ready(), upstream, everyone

    async def _model(self) -> Upstream:
        if self.upstream is not None:
            return self.upstream
        keys = tuple(secrets.token_urlsafe(24) for _ in OWNERS)
        file = self.folder / "model.keys"
        write_private(file, "\n".join(keys).encode())
        model = self.children.start("model", ["dev", "model", "--keys-file", str(file)], {})
        return Upstream(await model.ready(_MODEL_SECONDS), MODEL_NAME, keys)

    async def _contracts(
        self, rpc: str, platform: Person, subscriber: Person, owners: Sequence[Person]
    ) -> Deployment:
        note("deploying the test stablecoin and the Ricochet contract, funding wallets …")
        deployment = await deploy(rpc, dev_key(0), treasury=platform.account)
        await give(deployment, subscriber.account, wei=WEI_PER_ETHER, units=WALLET_MONEY)
        for owner in owners:
            gas_account = account_address(load_or_create(owner.home / "session.key"))
            for account in (owner.account, gas_account):
                await give(deployment, account, wei=WEI_PER_ETHER, units=Units(0))
        return deployment

    async def _nodes(
        self, deployment: Deployment, owners: Sequence[Person], upstream: Upstream
    ) -> Deployment:
        note("starting three nodes; the second and third know only the first one's address …")
        for owner, key, prices in zip(owners, upstream.keys, PRICES, strict=True):
            await asyncio.to_thread(_configure_node, owner, upstream, key, prices)
        first, *others = owners
        save(first.home, deployment)
        await self._start_node(first).ready()
        address = (await status(first.home))["addresses"][0]
        joined = msgspec.structs.replace(deployment, bootstrap=(address,))
        for owner in others:
            save(owner.home, joined)
        await asyncio.gather(*(self._start_node(owner).ready() for owner in others))
        return joined

    def _start_node(self, owner: Person) -> Child:
        return self.children.start(f"node-{owner.name}", ["node", "start"], owner.environment())

    async def _subscription(self, deployment: Deployment, subscriber: Person) -> None:
        save(subscriber.home, deployment)
        delegate = account_address(load_or_create(subscriber.home / "session.key"))
        key = await asyncio.to_thread(subscriber.wallet_key)
        await subscribe(deployment, key, PLAN, delegate, outbox=Outbox(subscriber.home))
        note("the subscriber has paid {price} for 30 days", price=dollars(PLAN))

    async def _run(self, subscriber: Person, owners: Sequence[Person]) -> dict[str, Any]:
        async with _chain_run(self.document, subscriber) as run:
            reading = asyncio.ensure_future(run.communicate())
            victim = await self._kill_one(owners, reading) if self.chaos else None
            output, _ = await reading
        if run.returncode != ExitCode.OK:
            raise ChainRunFailed(ExitCode(run.returncode or ExitCode.FAILURE))
        if victim is not None:
            note("starting {name}'s node again: it still holds its vouchers", name=victim.name)
            await self._start_node(victim).ready()
        outcome: dict[str, Any] = json.loads(output)
        return outcome

    async def _kill_one(self, owners: Sequence[Person], running: "asyncio.Future[Any]") -> Person:
        """Kill the first node that has served `CHAOS_CALLS`, while the run goes on."""
        while not running.done():
            for owner in owners:
                state = await status(owner.home)
                if sum(model["calls"] for model in state["models"]) >= CHAOS_CALLS:
                    note("chaos: killing {name}'s node in the middle of the run", name=owner.name)
                    self.children.kill(f"node-{owner.name}")
                    return owner
            await asyncio.sleep(_POLL_SECONDS)
        raise LocalFault(
            "chaos_late",
            "the run ended before a node could be killed",
            "use a longer document with --chaos",
        )

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.timings[phase] = round(time.monotonic() - start, 3)


class ChainRunFailed(RicochetError):
    """`chain run` has said why; the demo ends with the same exit code."""

    def __init__(self, exit_code: ExitCode) -> None:
        super().__init__("chain_run_failed", "the chain run failed: see above")
        self.exit_code = exit_code  # type: ignore[misc]  # this error's code is its child's


@asynccontextmanager
async def _chain_run(
    document: Path, subscriber: Person
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`ricochet chain run --json` with its progress on our stderr; interrupted when we are."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ricochet_cli", "chain", "run", str(document)),
        *("--chain", "overview", "--json", *(("--quiet",) if hushed() else ())),
        env={**os.environ, **subscriber.environment()},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


def _configure_node(owner: Person, upstream: Upstream, key: str, prices: tuple[str, str]) -> None:
    Keystore(owner.home / "keys.json").add(
        owner.passphrase, "local", "openai-compatible", upstream.url, key
    )
    offer = new_offer(
        model=MODEL_NAME,
        upstream_model=upstream.model,
        key="local",
        context=CONTEXT,
        price_in=prices[0],
        price_out=prices[1],
    )
    write_offer(owner.home, offer)


def _report(
    deployment: Deployment,
    owners: Sequence[Person],
    subscriber: Person,
    outcome: dict[str, Any],
    books: Audit,
    timings: dict[str, float],
    served_by: str,
) -> Report:
    served = {peer["operator"]: peer for peer in outcome["peers"]}
    income = {account.operator: account for account in books.operators}
    account = next(a for a in books.subscribers if a.subscriber == subscriber.account)
    lines = []
    for owner in owners:
        peer = served.get(owner.account, _NOT_ASKED)
        money = income[owner.account]
        lines.append(
            NodeLine(
                name=owner.name,
                operator=owner.account,
                peer=peer_of(load_or_create(owner.home / "peer.key")),
                calls=peer["calls"],
                tokens_in=peer["tokens_in"],
                tokens_out=peer["tokens_out"],
                earned=money.earned,
                withdrawn=money.withdrawn,
                first_token=peer["first_token_seconds"],
            )
        )
    return Report(
        nodes=tuple(lines),
        commission=books.commission,
        paid=account.paid,
        spent=account.spent,
        cost=Units(outcome["run"]["cost"]),
        budget_left=account.budget_left,
        run=outcome["run"],
        served_by=served_by,
        rpc=deployment.rpc,
        contract=deployment.contract,
        token=deployment.token,
        accounted=books.accounted,
        discrepancies=books.discrepancies,
        timings=timings,
        output=outcome["output"],
    )


_NOT_ASKED: Final = {"calls": 0, "tokens_in": 0, "tokens_out": 0, "first_token_seconds": None}
