"""Which contract on which chain this home folder works with: the file `network.json`.

Everything else about the network follows from it: the domain that signatures are bound to, the
registry, and the first peers. The file holds no secret; people pass it on by hand, so it is
checked as a whole when it is read.
"""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ricochet_protocol.eip712 import Domain
from ricochet_protocol.errors import ConfigurationError, UsageError
from ricochet_protocol.ids import Address, PeerId, address, peer_public_key
from ricochet_settlement.private_file import create_private, write_private

FILE_NAME: Final = "network.json"
CONFIRMATIONS: Final = 12
"""Blocks below the newest at which a public chain is believed, unless the network says otherwise:
under three minutes on Ethereum, where deeper reorganisations have not been seen since it finalises,
and seconds on a rollup. A chain with longer ones needs more."""
MAX_CONFIRMATIONS: Final = 120
"""Servers without an archive answer for the state of the last 128 blocks."""
_HOW: Final = (
    "Run `ricochet network join FILE` with the network.json of the network you want to join; "
    "`ricochet demo --keep` makes a network of your own on this machine."
)


class Deployment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`rpc` is the chain's URL; `bootstrap` are multiaddrs; `development` allows free money.

    `confirmations` is how many blocks below the newest the chain is believed; none given means 12,
    and 0 on a development network, whose chain never reorganises. Below `first_block` the chain has
    nothing of the contract. `members`, unless empty, are the only peers of a private network: all
    who join it have the same file.
    """

    rpc: str
    chain_id: int
    contract: Address
    token: Address
    bootstrap: tuple[str, ...] = ()
    development: bool = False
    confirmations: int | None = None
    first_block: int = 0
    members: tuple[PeerId, ...] = ()

    def __post_init__(self) -> None:
        for account in (self.contract, self.token):
            if account != address(account):
                raise ValueError("accounts are written in lower case")
        if not 0 < self.chain_id < 2**63:
            raise ValueError("chain_id out of range")
        if not _is_url(self.rpc):
            raise ValueError("rpc is not an http(s) URL")
        for member in self.members:
            peer_public_key(member)
        if not 0 <= self.first_block < 2**63:
            raise ValueError("first_block out of range")
        if not 0 <= self.depth <= MAX_CONFIRMATIONS:
            raise ValueError(f"confirmations are 0 to {MAX_CONFIRMATIONS}")

    @property
    def domain(self) -> Domain:
        """What signatures are bound to."""
        return Domain(chain_id=self.chain_id, contract=self.contract)

    @property
    def public(self) -> bool:
        """Whether strangers take part, so that their addresses are looked at twice."""
        return not (self.development or self.members)

    @property
    def depth(self) -> int:
        """Blocks below the newest at which the chain is believed."""
        if self.confirmations is None:
            return 0 if self.development else CONFIRMATIONS
        return self.confirmations


def load(home: Path) -> Deployment:
    """The deployment of this home; ConfigurationError `no_network` or `bad_network`."""
    return load_file(home / FILE_NAME)


def load_file(path: Path) -> Deployment:
    """A deployment that somebody handed over as a file; the same errors."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Deployment)
    except FileNotFoundError:
        raise ConfigurationError(
            "no_network", f"no network is configured: {path} is missing", _HOW
        ) from None
    except OSError as error:
        raise ConfigurationError(
            "bad_network", f"cannot read {path}: {error.strerror}", "Check who owns the file."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(
            "bad_network", f"{path} is not a network's description: {error}", _HOW
        ) from None


def save(home: Path, deployment: Deployment) -> None:
    """Write `network.json`, replacing an earlier one; LocalFault when it cannot be written."""
    write_private(home / FILE_NAME, _text(deployment))


def create_file(path: Path, deployment: Deployment) -> None:
    """Write a description to hand to others.

    UsageError `file_exists`: what it describes cannot be made again.
    """
    if not create_private(path, _text(deployment)):
        raise UsageError("file_exists", f"{path} exists", "Give another name.")


def check_rpc(rpc: str) -> None:
    """UsageError `bad_rpc` for what is no URL of a JSON-RPC server."""
    if not _is_url(rpc):
        raise UsageError(
            "bad_rpc", f"{rpc!r} is not an http(s) URL", "Give a URL such as http://127.0.0.1:8545."
        )


def _text(deployment: Deployment) -> bytes:
    return msgspec.json.format(msgspec.json.encode(deployment), indent=2) + b"\n"


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname)


def check_recipient(deployment: Deployment, account: Address) -> None:
    """UsageError `bad_address` for an account out of which money would never come again.

    Other contracts, such as a wallet of several owners, are good recipients.
    """
    dead = {
        Address("0x" + "00" * 20): "the zero address, which nobody holds",
        deployment.contract: "this network's contract",
        deployment.token: "this network's token",
    }
    if account in dead:
        raise UsageError(
            "bad_address",
            f"{account} cannot be paid: it is {dead[account]}",
            "Name the address of a wallet.",
        )
