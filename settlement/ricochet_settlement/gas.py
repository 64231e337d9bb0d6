"""What an account has to pay for transactions with."""

from web3 import Web3

from ricochet_protocol.ids import Address
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.link import Network


async def gas_balance(deployment: Deployment, account: Address) -> int:
    """The account's balance in wei; ChainError when the chain cannot be reached."""
    network = await Network.open(deployment)
    try:
        eth = network.link.web3.eth
        return await network.link.ask(eth.get_balance(Web3.to_checksum_address(account)))
    finally:
        await network.close()
