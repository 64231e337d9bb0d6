"""The node as a program: chooses the implementations, checks everything, runs until told to stop.

What is wrong is found in the order in which a person would mend it: network, wallet, keys, offers,
policy, passphrase, the owner's door, chain, registration, gas. The door serves its owner as soon as
it is open, while the node still joins (`joining`). Everything that was opened is closed in reverse
order, however it ends; the vault dies with this process even if that is killed.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ricochet_node import counters, event_loop, key_states, keystore, ledger_file
from ricochet_node.admin import Admin
from ricochet_node.cap_watch import CapWatch
from ricochet_node.config import NodeConfig
from ricochet_node.content_log import ContentLog
from ricochet_node.door_tokens import DoorTokens
from ricochet_node.http_client import HttpClient
from ricochet_node.key_room import VaultRooms
from ricochet_node.key_states import KeyStates
from ricochet_node.ledger import Ledger
from ricochet_node.listening import host_and_port
from ricochet_node.live_config import LiveConfig
from ricochet_node.local_door import LocalDoor
from ricochet_node.log import EventLog, open_log
from ricochet_node.monitoring import Monitoring
from ricochet_node.offering import Offering
from ricochet_node.open_keys import OpenKeys
from ricochet_node.passphrase import Passphrase
from ricochet_node.recording import Records
from ricochet_node.request_log import RequestLog
from ricochet_node.supply import Supply
from ricochet_node.upstreams import Upstreams
from ricochet_node.vault_process import VaultProcess
from ricochet_protocol.errors import LocalFault
from ricochet_protocol.ids import Address, ModelId, PeerId

if TYPE_CHECKING:
    from ricochet_node.node import Node


@dataclass(frozen=True)
class NodeOptions:
    """What a command line decides; `listen` empty means as in node.yaml, `log` None stderr."""

    home: Path
    listen: tuple[str, ...] = ()
    log: Path | None = None


class NodeReady(msgspec.Struct, frozen=True):
    """A node that serves; `addresses` are multiaddrs that end in its peer id.

    `notices` are what its owner should know.
    """

    peer: PeerId
    operator: Address
    addresses: tuple[str, ...]
    models: tuple[ModelId, ...]
    notices: tuple[str, ...] = ()


async def run_node(
    options: NodeOptions,
    passphrase: Passphrase,
    ready: Callable[[NodeReady], None],
    stop: asyncio.Event,
) -> None:
    """Run until `stop` is set; then let open calls end and claim, within 75 seconds.

    `passphrase` opens the provider keys, and the wallet if the node has to be registered; it is
    forgotten before the node is ready.

    Cancelling ends it at once. ConfigurationError, BudgetError, ChainError or LocalFault say what
    keeps it from running, each with the next step.
    """
    offering = Offering.of(options.home)
    config = offering.check()
    listen = options.listen or config.listen
    async with AsyncExitStack() as stack:
        log = stack.enter_context(open_log(options.log))
        books = Ledger(options.home / ledger_file.FILE_NAME)
        stack.callback(books.close)
        rules = {key: config.limits[key] for key in config.keys}
        vault = await VaultProcess.start(
            options.home / keystore.FILE_NAME, passphrase.text(), config.keys, rules
        )
        stack.push_async_callback(vault.stop)
        rooms = VaultRooms(options.home / counters.FILE_NAME, rules, time.time)
        stack.callback(rooms.close)
        states = KeyStates(options.home / key_states.FILE_NAME, offering.marks, time.time())
        stack.callback(states.close)
        caps = CapWatch(time.time, log)
        open_keys = OpenKeys(vault, rooms)
        calls = await stack.enter_async_context(HttpClient())
        upstreams = Upstreams(calls, vault, offering.keys, log, caps, open_keys.origin)
        stack.push_async_callback(upstreams.stop)
        supply = Supply(
            config, books, upstreams, log, time.time, offering.look_of(config), states, rooms
        )
        consent = _log_requests(stack, options.home, config.monitoring, supply.records)
        supply.open_to_owner()
        if config.door:
            await _open_door(stack, options.home, config.door, supply, log)
        # A second of imports: the door serves meanwhile.
        await asyncio.to_thread(import_module, "ricochet_node.joining")
        from ricochet_node.joining import join

        node, network = await join(
            stack, options.home, offering, config, listen, passphrase, books, supply, log
        )
        passphrase.forget()
        await _monitor(stack, config.monitoring, node, supply.records, log)
        admin = Admin(node)
        await stack.enter_async_context(
            admin.running(options.home, network.peer, offering.operator, network.addresses)
        )
        began = msgspec.structs.replace(config, limits=rules)
        await _follow_edits(stack, options.home, began, vault, node, rooms, consent, log)
        models = tuple(offer.model for offer in config.offers)
        log.event("started", peer=network.peer, operator=offering.operator, models=len(models))
        notices = offering.notices(config)
        event_loop.started()
        ready(NodeReady(network.peer, offering.operator, network.addresses, models, notices))
        await _until_stopped(node, vault, stop, log)


def _log_requests(
    stack: AsyncExitStack, home: Path, monitoring: Monitoring, records: Records
) -> Callable[[bool], None]:
    """Record every request, and what was said only while the owner agrees to that.

    What is returned takes the owner's later decisions; it holds for calls under way too.
    """
    requests = RequestLog(home, keep_days=monitoring.keep_days)
    stack.callback(requests.close)
    records.listeners.append(requests.write)
    content = ContentLog(home, keep_days=monitoring.content_days)
    stack.callback(content.close)
    content.prune(time.time())
    records.listeners.append(lambda record: content.prune(record.time))

    def consent(given: bool) -> None:
        records.content_listeners[:] = [content.write] if given else []

    consent(monitoring.content)
    return consent


async def _monitor(
    stack: AsyncExitStack,
    monitoring: Monitoring,
    node: "Node",
    records: Records,
    log: EventLog,
) -> None:
    """Start what the owner wants to be told by; all of it ends with `stack`."""
    if monitoring.metrics:
        from ricochet_node.metrics import Metrics

        metrics = Metrics(node.status)
        records.listeners.append(metrics.count)
        url = await stack.enter_async_context(metrics.served(*host_and_port(monitoring.metrics)))
        log.event("metrics", url=url)
    if monitoring.webhook or monitoring.desktop:
        import aiohttp

        from ricochet_node.alerts import Alerts

        client = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        alerts = Alerts(monitoring, client, time.time, log)
        log.listener = alerts.hear
        await stack.enter_async_context(alerts.sending())


async def _open_door(
    stack: AsyncExitStack, home: Path, place: str, supply: Supply, log: EventLog
) -> None:
    """Let the owner's own clients in, as long as `stack` lasts."""
    door = LocalDoor(supply.own, supply.capacity.own, DoorTokens(home), time.time)
    url = await stack.enter_async_context(door.opened(*host_and_port(place)))
    log.event("door", url=url)


async def _follow_edits(
    stack: AsyncExitStack,
    home: Path,
    config: NodeConfig,
    vault: VaultProcess,
    node: "Node",
    rooms: VaultRooms,
    consent: Callable[[bool], None],
    log: EventLog,
) -> None:
    """Take up edits of node.yaml, as long as `stack` lasts."""

    def apply(new: NodeConfig) -> None:
        rooms.rules = dict(new.limits)
        node.change(new)
        consent(new.monitoring.content)

    live = LiveConfig(home, config, lambda: Offering.of(home).check(), vault, apply, log)
    await stack.enter_async_context(live.followed())


async def _until_stopped(
    node: "Node", vault: VaultProcess, stop: asyncio.Event, log: EventLog
) -> None:
    running = asyncio.create_task(node.run())
    vault_ends = asyncio.create_task(vault.exited())
    told = asyncio.create_task(stop.wait())
    asked = asyncio.create_task(node.told_to_stop.wait())
    tasks = (running, vault_ends, told, asked)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        if vault_ends.done():
            raise LocalFault(
                "vault_ended",
                f"the vault process has ended (exit code {vault_ends.result()})",
                "start the node again; if it happens repeatedly, look for what kills it",
            )
        log.event("stopping", open_calls=node.book.open_calls)
        ended = await node.end_calls()
        await node.claimer.finish()
        log.event("stopped", all_calls_ended=ended)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
