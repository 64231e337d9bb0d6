"""What an account holds outside the contract: the network's token, and the chain's gas money."""

import msgspec
from web3 import Web3

from ricochet_protocol.ids import Address
from ricochet_protocol.money import Units
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.link import Network


class Holdings(msgspec.Struct, frozen=True):
    """`tokens` in the token's smallest unit, `wei` in the chain's."""

    tokens: Units
    wei: int


async def holdings(deployment: Deployment, account: Address) -> Holdings:
    """The balances at the latest block; ChainError when the chain cannot be read."""
    network = await Network.open(deployment)
    try:
        ask, owner = network.link.ask, Web3.to_checksum_address(account)
        return Holdings(
            tokens=Units(await ask(network.token.functions.balanceOf(owner).call())),
            wei=await ask(network.link.web3.eth.get_balance(owner)),
        )
    finally:
        await network.close()
