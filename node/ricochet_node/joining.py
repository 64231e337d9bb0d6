"""The second half of a node's start: chain and peers.

Imported when the owner's door is open already, because what this imports (web3, libp2p) takes
longer than the whole first half (ADR 029).
"""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from random import SystemRandom

from ricochet_network.libp2p_transport import Libp2pTransport
from ricochet_network.peers import PeerNetwork
from ricochet_node.config import NodeConfig
from ricochet_node.ledger import Ledger
from ricochet_node.log import EventLog
from ricochet_node.node import Identity, Node
from ricochet_node.offering import Offering
from ricochet_node.owner import GAS_KEY, WALLET
from ricochet_node.passphrase import Passphrase
from ricochet_node.supply import Supply
from ricochet_protocol.errors import BudgetError
from ricochet_protocol.ids import Address
from ricochet_protocol.ports import Settlement
from ricochet_protocol.signing import account_address, peer_of
from ricochet_settlement import wallet
from ricochet_settlement.contract import ContractSettlement
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.holdings import holdings
from ricochet_settlement.hot_key import NODE_KEY, load_or_create
from ricochet_settlement.operator import register_node
from ricochet_settlement.peer_files import PeerFiles
from ricochet_settlement.sender import Outbox


async def join(
    stack: AsyncExitStack,
    home: Path,
    offering: Offering,
    config: NodeConfig,
    listen: tuple[str, ...],
    passphrase: Passphrase,
    books: Ledger,
    supply: Supply,
    log: EventLog,
) -> tuple[Node, PeerNetwork]:
    """Follow the chain, meet the peers, and sell; all of it ends with `stack`.

    ChainError, BudgetError, ConfigurationError or LocalFault say what keeps the node from it.
    """
    deployment, operator = offering.deployment, offering.operator
    gas_key = load_or_create(home / GAS_KEY)
    settlement = await ContractSettlement.connect(deployment, gas_key, Outbox(home), follow=home)
    stack.push_async_callback(settlement.close)
    seed = load_or_create(home / NODE_KEY)
    identity = Identity(peer=peer_of(seed), operator=operator, seed=seed)
    node = Node(identity, config, settlement, books, supply, log, time.time)
    network = PeerNetwork(
        Libp2pTransport(seed, listen, config.relay.limits()),
        seed,
        deployment.domain.network,
        (*deployment.bootstrap, *await settlement.first_peers(SystemRandom())),
        node.door,
        store=PeerFiles(home),
        public=deployment.public,
        members=deployment.members,
        announce=config.announce,
    )
    stack.push_async_callback(network.stop)
    await network.start()
    await _register(home, passphrase, deployment, settlement, operator, network, log)
    await _check_gas(deployment, account_address(gas_key))
    await node.join(network)
    return node, network


async def _register(
    home: Path,
    passphrase: Passphrase,
    deployment: Deployment,
    settlement: Settlement,
    operator: Address,
    network: PeerNetwork,
    log: EventLog,
) -> None:
    """Make the registry map the operator to this peer: without it, no client believes an advert."""
    known = await settlement.node(operator)
    if known is not None and known.peer == network.peer:
        return
    key = await asyncio.to_thread(wallet.unlock, home / WALLET, passphrase.text())
    payout = known.payout if known is not None else operator
    await register_node(
        deployment, key, network.peer, network.addresses, payout, outbox=Outbox(home)
    )
    log.event("registered", operator=operator, peer=network.peer, payout=payout)


async def _check_gas(deployment: Deployment, account: Address) -> None:
    if (await holdings(deployment, account)).wei == 0:
        raise BudgetError(
            "no_gas_money",
            f"the node's gas account {account} is empty: it could neither reserve nor claim",
            f"send a little ether to {account}; that key has no other rights",
        )
