"""The accounts that own all ether of a dev chain. Their keys are public: never use them elsewhere.

Keys are hashes of a sentence, so that no mnemonic library is needed and everyone gets the same.
"""

from typing import Final

from ricochet_protocol.ids import Address
from ricochet_protocol.signing import account_address, keccak256

DEV_CHAIN_ID: Final = 31337
"""The id that development tools agree on; wallets know it as one."""
DEV_ACCOUNTS: Final = 5
DEV_BALANCE: Final = 10**24
"""A million ether each."""


def dev_key(index: int) -> bytes:
    """The private key of dev account `index`, 0 to DEV_ACCOUNTS - 1."""
    if not 0 <= index < DEV_ACCOUNTS:
        raise ValueError(f"there are {DEV_ACCOUNTS} dev accounts, from 0")
    return keccak256(f"ricochet dev chain account {index}: worth nothing".encode())


def dev_address(index: int) -> Address:
    """The account of `dev_key(index)`."""
    return account_address(dev_key(index))
