"""What a key owner's wallet does: enter the node in the registry, and keep the entry current."""

from collections.abc import Sequence

from web3 import Web3

from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.ids import Address, PeerId
from ricochet_protocol.ports import NodeRecord
from ricochet_protocol.signing import account_address
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.reading import read_node, read_payout
from ricochet_settlement.sender import IN_MEMORY, Outbox, writing


async def register_node(
    deployment: Deployment,
    key: bytes,
    peer: PeerId,
    addresses: Sequence[str],
    payout: Address,
    *,
    outbox: Outbox = IN_MEMORY,
) -> bool:
    """Make the registry say this; whether a transaction was needed.

    ConfigurationError `payout_fixed` when the registry names another payout; ChainError `reverted`
    when the entry is too long; BudgetError `no_gas_money`.
    """
    operator = account_address(key)
    wanted = NodeRecord(operator=operator, peer=peer, addresses=tuple(addresses), payout=payout)
    async with writing(deployment, key, outbox) as (network, sender):
        if await read_node(network, operator) == wanted:
            return False
        known = await read_payout(network, operator)
        if known is not None and known != payout:
            raise ConfigurationError(
                "payout_fixed",
                f"{operator} is registered with payout {known}",
                f"Use {known}, or change it with 48 hours of notice: "
                f"`ricochet node payout queue {payout}`.",
            )
        entry = [peer, list(addresses)]
        if known is None:
            entry.append(Web3.to_checksum_address(payout))
        function = "registerNode" if known is None else "updateNode"
        data = network.ricochet.encode_abi(function, entry)
        await sender.send(deployment.contract, bytes.fromhex(data[2:]), label=function)
        return True
