"""The compiled contracts that the package carries, so that nobody needs a Solidity compiler."""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import msgspec

ContractName = Literal["Ricochet", "TestUSD"]


class Artifact(msgspec.Struct, frozen=True):
    """A contract's interface and creation code."""

    abi: list[dict[str, Any]]
    bytecode: str


@cache
def artifact(name: ContractName) -> Artifact:
    """What the Solidity build committed under `abi/`; a test holds it to the sources."""
    text = files("ricochet_settlement").joinpath("abi", f"{name}.json").read_text()
    return msgspec.convert(json.loads(text), Artifact)
