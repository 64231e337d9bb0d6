"""Signatures for the differential test: reservations, vouchers and permits, good and spoiled.

The digests are written from EIP-712 and EIP-2612 alone, so that they do not lean on the product's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from contract_evm import CHAIN_ID
from contract_facts import Entry
from eth_abi.abi import encode

from ricochet_protocol.ids import Hash32
from ricochet_protocol.signing import account_address, keccak256, sign_digest

USD = "0x" + "d0" * 20
POOL = "0x" + "c0" * 20
KEYS = [keccak256(f"differential account {n}".encode()) for n in range(6)]
ACCOUNTS = [str(account_address(key)) for key in KEYS]
KEY_OF = dict(zip(ACCOUNTS, KEYS, strict=True))
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1, SEC 2 section 2.4.1."""

SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda signature: b"",
    "short": lambda signature: signature[:64],
    "long": lambda signature: signature + b"\0",
    "zero": lambda signature: bytes(65),
    "v of 0 or 1": lambda signature: signature[:64] + bytes([signature[64] - 27]),
    "other v": lambda signature: signature[:64] + bytes([55 - signature[64]]),
    "larger s": lambda signature: _twin(signature),
    "flipped": lambda signature: bytes([signature[0] ^ 1]) + signature[1:],
}
"""Ways to make a good signature a bad one, all of which the contract must refuse."""


@dataclass(frozen=True)
class Signed:
    """An entry as the model sees it, and the signature bytes that the contract gets."""

    entry: Entry
    signature: bytes


def sign(name: str, entry: Entry, spoil: str | None) -> Signed:
    """`entry.signer` signs it for `reserve` or `claim`.

    `spoil` makes nobody its signer: one of SPOILED, `outsider` for the same words on another
    network, or `other kind` for a voucher given out as a reservation and the reverse.
    """
    assert entry.signer is not None
    key, nobody = KEY_OF[entry.signer], replace(entry, signer=None)
    if spoil == "outsider":
        return Signed(nobody, sign_digest(key, digest(name, entry, USD)))
    if spoil == "other kind":
        other = {"reserve": "claim", "claim": "reserve"}[name]
        return Signed(nobody, sign_digest(key, digest(other, entry, POOL)))
    signature = sign_digest(key, digest(name, entry, POOL))
    return Signed(entry, signature) if spoil is None else Signed(nobody, SPOILED[spoil](signature))


def digest(name: str, entry: Entry, contract: str) -> Hash32:
    """What is signed for an entry of `reserve` or `claim`."""
    struct, amount = {"reserve": ("Reservation", "total"), "claim": ("Voucher", "cumulative")}[name]
    head = f"{struct}(address subscriber,address node,uint32 period,uint128 {amount})"
    words = ["bytes32", "address", "address", "uint32", "uint128"]
    body = encode(words, [keccak256(head.encode()), *row(entry)])
    return keccak256(b"\x19\x01" + _separator("Ricochet", contract) + keccak256(body))


def permit(owner: str, amount: int, nonce: int, deadline: int) -> tuple[int, bytes, bytes]:
    """v, r and s of the owner's permit for the contract to take `amount`."""
    head = b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
    words = ["bytes32", "address", "address", "uint256", "uint256", "uint256"]
    body = encode(words, [keccak256(head), owner, POOL, amount, nonce, deadline])
    whole = keccak256(b"\x19\x01" + _separator("Ricochet Test USD", USD) + keccak256(body))
    signature = sign_digest(KEY_OF[owner], whole)
    return signature[64], signature[:32], signature[32:64]


def row(entry: Entry) -> tuple[Any, ...]:
    """The entry as the contract's struct."""
    return (entry.subscriber, entry.node, entry.period, entry.amount)


@cache
def _separator(name: str, contract: str) -> bytes:
    head = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    values = (keccak256(head), keccak256(name.encode()), keccak256(b"1"), CHAIN_ID, contract)
    return keccak256(encode(["bytes32", "bytes32", "bytes32", "uint256", "address"], values))


def _twin(signature: bytes) -> bytes:
    """The other signature that recovers the same account, which the contract must not take."""
    s = _ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])
