"""What a key owner's wallet does: enter the node in the registry, and keep the entry current."""

from collections.abc import Sequence

from web3 import Web3

from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.ids import Address, PeerId
from ricochet_protocol.ports import NodeRecord
from ricochet_protocol.signing import account_address
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.link import Network
from ricochet_settlement.reading import read_node, read_payout
from ricochet_settlement.sender import Sender


async def register_node(
    deployment: Deployment, key: bytes, peer: PeerId, addresses: Sequence[str], payout: Address
) -> bool:
    """Make the registry say this; whether a transaction was needed.

    ConfigurationError `payout_fixed` when the operator is registered with another payout; ChainError
    `reverted` when the entry is too long; BudgetError `no_gas_money`.
    """
    operator = account_address(key)
    wanted = NodeRecord(operator=operator, peer=peer, addresses=tuple(addresses), payout=payout)
    network = await Network.open(deployment)
    try:
        if await read_node(network, operator) == wanted:
            return False
        known = await read_payout(network, operator)
        if known is not None and known != payout:
            raise ConfigurationError(
                "payout_fixed",
                f"{operator} is registered with payout {known}",
                f"Use {known}; the contract changes a payout only 48 hours after `queuePayout`.",
            )
        entry = [peer, list(addresses)]
        data = (
            network.ricochet.encode_abi("updateNode", entry)
            if known is not None
            else network.ricochet.encode_abi(
                "registerNode", [*entry, Web3.to_checksum_address(payout)]
            )
        )
        sender = Sender(network.link, key)
        await sender.send(deployment.contract, bytes.fromhex(data[2:]))
        return True
    finally:
        await network.close()
