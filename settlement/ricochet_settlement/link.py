"""One connection to a chain's JSON-RPC, and the contracts of a deployment on it.

Whatever the library raises leaves here as an error that says what to do; nothing is retried
silently, because the callers know what a retry costs.
"""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from typing import Final, TypeVar

import aiohttp
from web3 import AsyncHTTPProvider, AsyncWeb3, Web3
from web3.contract import AsyncContract
from web3.exceptions import (
    BadFunctionCallOutput,
    ContractLogicError,
    TimeExhausted,
    Web3Exception,
    Web3RPCError,
)

from ricochet_protocol.errors import ChainError, ConfigurationError
from ricochet_protocol.ids import Address
from ricochet_settlement.artifact import ContractName, artifact
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.reverts import refusal

REQUEST_SECONDS: Final = 30
"""Bound of one request; a node that answers later is as good as gone."""

T = TypeVar("T")


class Link:
    """AsyncWeb3 on one URL; closed by its owner, on the event loop that used it."""

    def __init__(self, rpc: str) -> None:
        self.rpc = rpc
        self._provider = AsyncHTTPProvider(
            rpc,
            request_kwargs={"timeout": aiohttp.ClientTimeout(total=REQUEST_SECONDS)},
            exception_retry_configuration=None,
        )
        self.web3: AsyncWeb3[AsyncHTTPProvider] = AsyncWeb3(self._provider)

    def contract(self, name: ContractName, address: Address) -> AsyncContract:
        """One of our contracts at that address."""
        return self.web3.eth.contract(
            address=Web3.to_checksum_address(address), abi=artifact(name).abi
        )

    async def ask(self, call: Awaitable[T]) -> T:
        """Await a library call; ChainError when the chain is gone or refuses."""
        with self._errors():
            return await call

    async def close(self) -> None:
        """Close the connections; may be called twice."""
        await self._provider.disconnect()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except ContractLogicError as error:
            raise refusal(error) from None
        except TimeExhausted:
            raise ChainError(
                "not_mined",
                f"the chain at {self.rpc} took the transaction but has not mined it in time",
                "It may still be mined: look before sending again.",
            ) from None
        except Web3RPCError as error:
            raise ChainError(
                "chain_refused", f"the chain refused: {_message(error)}", "Try again."
            ) from None
        except BadFunctionCallOutput:
            raise ChainError(
                "wrong_contract",
                "the contract does not answer as Ricochet does",
                "Check `contract` and `token` in network.json.",
            ) from None
        except (aiohttp.ClientError, OSError, JSONDecodeError, Web3Exception) as error:
            raise ChainError(
                "chain_unreachable",
                f"no chain answers at {self.rpc} ({type(error).__name__})",
                f"Start it: `ricochet dev chain` serves a chain of your own; "
                f"or set `rpc` in network.json if it is not {self.rpc}.",
            ) from None


class Network:
    """The contracts of a deployment over one link."""

    def __init__(self, deployment: Deployment, link: Link) -> None:
        self.deployment = deployment
        self.link = link
        self.ricochet = link.contract("Ricochet", deployment.contract)
        self.token = link.contract("TestUSD", deployment.token)

    @classmethod
    async def open(cls, deployment: Deployment) -> "Network":
        """Connect and check that the deployment is really there.

        ConfigurationError `wrong_chain` or `wrong_contract`; ChainError when unreachable.
        """
        link = Link(deployment.rpc)
        try:
            network = cls(deployment, link)
            await network._check()
        except BaseException:
            await link.close()
            raise
        return network

    async def close(self) -> None:
        """Close the link; may be called twice."""
        await self.link.close()

    async def _check(self) -> None:
        ask, eth, wanted = self.link.ask, self.link.web3.eth, self.deployment
        chain_id = await ask(eth.chain_id)
        if chain_id != wanted.chain_id:
            raise ConfigurationError(
                "wrong_chain",
                f"{wanted.rpc} is chain {chain_id}, network.json says {wanted.chain_id}",
                "Correct `rpc` or `chain_id` in network.json.",
            )
        token = None
        if await ask(eth.get_code(self.ricochet.address)):
            try:
                token = await ask(self.ricochet.functions.token().call())
            except ChainError as error:
                if error.code not in ("reverted", "wrong_contract"):
                    raise
        if token is None or token.lower() != wanted.token:
            raise ConfigurationError(
                "wrong_contract",
                f"{wanted.contract} on {wanted.rpc} is not the Ricochet contract of this network",
                "A dev chain that was started anew is empty: run `ricochet demo --keep` again, "
                "or correct `contract` and `token` in network.json.",
            )


def _message(error: Web3RPCError) -> str:
    details = (error.rpc_response or {}).get("error")
    return str(details.get("message")) if isinstance(details, dict) else str(error.message)
