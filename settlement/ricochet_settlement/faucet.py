"""Free money on a development chain: ether from a dev account, and freshly minted test dollars."""

from typing import Final

from web3 import Web3

from ricochet_protocol.errors import ConfigurationError
from ricochet_protocol.ids import Address
from ricochet_protocol.money import Units
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.devchain.accounts import dev_key
from ricochet_settlement.sender import IN_MEMORY, writing

WEI_PER_ETHER: Final = 10**18


async def give(deployment: Deployment, account: Address, *, wei: int, units: Units) -> None:
    """Add ether and test dollars to `account`; zero of either is skipped.

    ConfigurationError `not_development` on any other network. Calls must not overlap, also across
    processes: they spend from one account.
    """
    if not deployment.development:
        raise ConfigurationError(
            "not_development",
            "only development networks give money away",
            "Fund the account as that network's money is funded.",
        )
    async with writing(deployment, dev_key(0), IN_MEMORY) as (network, sender):
        if wei:
            await sender.send(account, b"", wei)
        if units:
            data = network.token.encode_abi("mint", [Web3.to_checksum_address(account), units])
            await sender.send(deployment.token, bytes.fromhex(data[2:]))
