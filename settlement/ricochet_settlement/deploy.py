"""Putting the contract on a chain: once for each network, by its platform.

On a dev chain the test dollar is deployed with it. Elsewhere the token is a real stablecoin, whose
choice is for ever: the contract is immutable.
"""

from typing import Final

from web3 import Web3

from ricochet_protocol.errors import ChainError, UsageError
from ricochet_protocol.ids import Address, address
from ricochet_protocol.money import DECIMALS, UNITS_PER_DOLLAR
from ricochet_settlement.artifact import ContractName, artifact
from ricochet_settlement.deployment import CONFIRMATIONS, MAX_CONFIRMATIONS, Deployment
from ricochet_settlement.devchain.accounts import DEV_CHAIN_ID
from ricochet_settlement.link import Link
from ricochet_settlement.sender import Outbox, Sender
from ricochet_settlement.transaction_queue import Watch

MIN_FEE: Final = 5 * UNITS_PER_DOLLAR
MAX_FEE: Final = 10 * UNITS_PER_DOLLAR
"""The least and greatest price of a period; DESIGN §4."""


async def deploy(
    rpc: str,
    key: bytes,
    treasury: Address,
    token: Address | None = None,
    watch: Watch | None = None,
) -> Deployment:
    """Deploy with the account of `key`; commission goes to `treasury`. No bootstrap address yet.

    UsageError `token_needed` when a chain that is not a dev chain is given no token, `wrong_token`
    when that address is no token of six decimals; BudgetError `no_gas_money`; ChainError.
    """
    link = Link(rpc)
    sender = Sender(link, key, Outbox(watch=watch))
    try:
        chain_id = await link.ask(link.web3.eth.chain_id)
        if token is not None:
            await _check_token(link, token)
        elif chain_id == DEV_CHAIN_ID:
            token = await _create(link, sender, "TestUSD")
        else:
            raise UsageError(
                "token_needed",
                f"chain {chain_id} is not a dev chain, so a test dollar is no money there",
                "Name the stablecoin's address.",
            )
        accounts = (Web3.to_checksum_address(token), Web3.to_checksum_address(treasury))
        contract = await _create(link, sender, "Ricochet", *accounts, MIN_FEE, MAX_FEE)
        head = await link.ask(link.web3.eth.block_number)
    finally:
        sender.close()
        await link.close()
    development = chain_id == DEV_CHAIN_ID
    return Deployment(
        rpc=rpc,
        chain_id=chain_id,
        contract=contract,
        token=token,
        development=development,
        confirmations=0 if development else CONFIRMATIONS,
        # A reorganisation may still move the contract to an earlier block than it is in now.
        first_block=max(0, head - MAX_CONFIRMATIONS),
    )


async def _check_token(link: Link, token: Address) -> None:
    """The choice is for ever, so a mistyped address must not become it."""
    decimals = None
    try:
        decimals = await link.ask(link.contract("TestUSD", token).functions.decimals().call())
    except ChainError as error:
        if error.code not in ("reverted", "wrong_contract"):
            raise
    if decimals != DECIMALS:
        raise UsageError(
            "wrong_token",
            f"{token} is no token of {DECIMALS} decimals on the chain at {link.rpc}",
            "Name the address of a dollar stablecoin such as USDC on that chain.",
        )


async def _create(link: Link, sender: Sender, name: ContractName, *arguments: object) -> Address:
    compiled = artifact(name)
    factory = link.web3.eth.contract(abi=compiled.abi, bytecode=compiled.bytecode)
    data = factory.constructor(*arguments).data_in_transaction
    receipt = await sender.send(
        None, bytes.fromhex(data.removeprefix("0x")), label=f"create {name}"
    )
    created = receipt["contractAddress"]
    if created is None:
        raise ChainError("no_contract", f"the chain at {link.rpc} created no contract for {name}")
    return address(created)
