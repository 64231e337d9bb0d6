"""How a home joins its network: the real transport, contract and store, put together.

One half of the composition root; `app` says what is done with it. Whatever is opened here is closed
in reverse order, whatever happens.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ricochet_orchestrator.checkpoint import STORE_FILE
from ricochet_orchestrator.progress import Event
from ricochet_orchestrator.request import Options
from ricochet_protocol.errors import LocalFault

if TYPE_CHECKING:
    from ricochet_network.peers import PeerNetwork
    from ricochet_orchestrator.setting import Setting
    from ricochet_settlement.deployment import Deployment


@asynccontextmanager
async def joined(
    home: Path, tell: Callable[[Event], None], options: Options
) -> "AsyncIterator[Setting]":
    """Everything a run works with, connected; closed in reverse order whatever happens."""
    from random import SystemRandom

    from ricochet_orchestrator.account import Payer
    from ricochet_orchestrator.remembered_count import RememberedCount
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
    async with AsyncExitStack() as opened:
        peer_key = opened.enter_context(_peer_key(home, private=bool(network.members)))
        store = Store(home / STORE_FILE)
        opened.callback(store.close)
        # The orchestrator only reads the chain, so any key will do for gas it never spends.
        settlement = await ContractSettlement.connect(network, session_key, follow=home)
        opened.push_async_callback(settlement.close)
        bootstrap = (*network.bootstrap, *await settlement.first_peers(SystemRandom()))
        peers = _peers(home, network, peer_key, bootstrap)
        opened.push_async_callback(peers.stop)
        await peers.start()
        yield Setting(
            peers=peers,
            settlement=settlement,
            store=store,
            payer=Payer(subscriber, network.domain, session_key, former_sessions(home)),
            count=RememberedCount(count_tokens),
            seed=options.seed,
            clock=time.time,
            tell=tell,
            private_nodes=options.private_nodes,
            routing=options.routing,
            allow_logging=options.allow_logging,
            context=options.context,
        )


@asynccontextmanager
async def looking(home: Path) -> "AsyncIterator[PeerNetwork]":
    """The network of a home, joined to look at it; needs no wallet and no subscription.

    ConfigurationError without a network, ChainError when first peers cannot be read.
    """
    from random import SystemRandom

    from ricochet_settlement import deployment
    from ricochet_settlement.contract import ContractSettlement
    from ricochet_settlement.hot_key import new_key

    network = deployment.load(home)
    async with AsyncExitStack() as opened:
        peer_key = opened.enter_context(_peer_key(home, private=bool(network.members)))
        # Nothing is signed here, so any key will do.
        settlement = await ContractSettlement.connect(network, new_key(), follow=home)
        opened.push_async_callback(settlement.close)
        bootstrap = (*network.bootstrap, *await settlement.first_peers(SystemRandom()))
        peers = _peers(home, network, peer_key, bootstrap)
        opened.push_async_callback(peers.stop)
        await peers.start()
        yield peers


def _peers(
    home: Path, network: "Deployment", peer_key: bytes, bootstrap: tuple[str, ...]
) -> "PeerNetwork":
    from ricochet_network.libp2p_transport import Libp2pTransport
    from ricochet_network.peers import PeerNetwork
    from ricochet_settlement.peer_files import PeerFiles

    return PeerNetwork(
        Libp2pTransport(peer_key),
        peer_key,
        network.domain.network,
        bootstrap,
        store=PeerFiles(home),
        public=network.public,
        members=network.members,
    )


@contextmanager
def _peer_key(home: Path, *, private: bool) -> Iterator[bytes]:
    """The identity of this home's runs, or a new one for a run beside another: nodes keep one
    connection a peer, so two processes with one identity would cut each other off. It is never
    that of the home's node, whose owner may run chains while it serves. A private network would
    refuse a new one: LocalFault `identity_in_use`."""
    from ricochet_settlement.file_lock import locked
    from ricochet_settlement.hot_key import RUNS_KEY, load_or_create, new_key

    path = home / RUNS_KEY
    with ExitStack() as held:
        try:
            held.enter_context(locked(path, wait=0))
        except LocalFault as error:
            if error.code != "file_busy":
                raise
            if private:
                raise LocalFault(
                    "identity_in_use",
                    "another command of this home is connected, and a private network knows "
                    "one identity of it",
                    "Wait until that command has ended, or pause its run.",
                ) from None
            yield new_key()
            return
        yield load_or_create(path)
