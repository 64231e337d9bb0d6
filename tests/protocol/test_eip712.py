"""EIP-712: our digests and signatures are those of eth-account and of the golden vectors."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils import to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st

from ricochet_protocol.eip712 import (
    MAX_COVERS,
    Attestation,
    Domain,
    Reservation,
    Session,
    SignedVoucher,
    Voucher,
    domain_separator,
    sign_attestation,
    sign_reservation,
    sign_session,
    sign_voucher,
)
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.ids import Address, Hash32, PeerId, Period, address
from ricochet_protocol.money import Units
from ricochet_protocol.signing import account_address, keccak256, sign_digest

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "eip712.json").read_text())
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

addresses = st.binary(min_size=20, max_size=20).map(lambda raw: Address("0x" + raw.hex()))
keys = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32, "big"))
domains = st.builds(Domain, chain_id=st.integers(1, 2**63 - 1), contract=addresses)
periods = st.integers(1, 2**32 - 1).map(Period)
amounts = st.integers(0, 2**128 - 1).map(Units)
peers = st.text(max_size=64).map(PeerId)
reservations = st.builds(
    Reservation, subscriber=addresses, node=addresses, period=periods, total=amounts
)
vouchers = st.builds(
    Voucher, subscriber=addresses, node=addresses, period=periods, cumulative=amounts
)
sessions = st.builds(
    Session,
    subscriber=addresses,
    client_peer=peers,
    node_peer=peers,
    expires=st.integers(0, 2**63 - 1),
)
attestations = st.builds(
    Attestation,
    operator=addresses,
    provider=st.text("az09.:-", max_size=127).map(lambda rest: "p" + rest),
    document=st.binary(min_size=32, max_size=32).map(Hash32),
    covers=st.text("resale é€漢", min_size=1, max_size=MAX_COVERS),
    expires=st.integers(0, 2**63 - 1),
)
Value = Reservation | Voucher | Session | Attestation
SIGN = {
    Reservation: sign_reservation,
    Voucher: sign_voucher,
    Session: sign_session,
    Attestation: sign_attestation,
}


def message(value: Value) -> dict[str, Any]:
    """The value as wallets take it."""
    if isinstance(value, Session):
        return {
            "subscriber": to_checksum_address(value.subscriber),
            "clientPeer": value.client_peer,
            "nodePeer": value.node_peer,
            "expires": value.expires,
        }
    if isinstance(value, Attestation):
        return msgspec.structs.asdict(value) | {"operator": to_checksum_address(value.operator)}
    fields: dict[str, Any] = {
        "subscriber": to_checksum_address(value.subscriber),
        "node": to_checksum_address(value.node),
        "period": value.period,
    }
    if isinstance(value, Reservation):
        return fields | {"total": value.total}
    return fields | {"cumulative": value.cumulative}


def value_of(vector: dict[str, Any]) -> Value:
    """The value that a golden vector describes."""
    told = vector["message"]
    if vector["type"] == "Attestation":
        return Attestation(
            address(told["operator"]),
            told["provider"],
            Hash32(bytes.fromhex(told["document"][2:])),
            told["covers"],
            int(told["expires"]),
        )
    subscriber = address(told["subscriber"])
    if vector["type"] == "Session":
        return Session(
            subscriber, PeerId(told["clientPeer"]), PeerId(told["nodePeer"]), int(told["expires"])
        )
    node, period = address(told["node"]), Period(int(told["period"]))
    if vector["type"] == "Reservation":
        return Reservation(subscriber, node, period, Units(int(told["total"])))
    return Voucher(subscriber, node, period, Units(int(told["cumulative"])))


def sign(key: bytes, domain: Domain, value: Value) -> Any:
    return SIGN[type(value)](key, domain, value)  # type: ignore[operator]


@given(key=keys, domain=domains, value=reservations | vouchers | sessions | attestations)
def test_wallets_sign_what_we_sign(key: bytes, domain: Domain, value: Value) -> None:
    kind = type(value).__name__
    told = {
        "name": "Ricochet",
        "version": "1",
        "chainId": domain.chain_id,
        "verifyingContract": to_checksum_address(domain.contract),
    }
    typed = encode_typed_data(told, {kind: VECTORS["types"][kind]}, message(value))
    theirs = Account.sign_message(typed, key)
    assert bytes(theirs.message_hash) == value.digest(domain)
    ours = sign(key, domain, value)
    assert ours.signature == bytes(theirs.signature)
    assert ours.signer(domain) == account_address(key) == address(Account.from_key(key).address)


def beyond_ours(vector: dict[str, Any]) -> bool:
    """The contract's types are wider than the protocol: no period 0, no expiry beyond 2**63."""
    told = vector["message"]
    return int(told.get("period", 1)) == 0 or int(told.get("expires", 0)) >= 2**63


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["type"])
def test_golden_vectors(vector: dict[str, Any]) -> None:
    told = VECTORS["domain"]
    domain = Domain(told["chainId"], address(told["verifyingContract"]))
    assert "0x" + domain_separator(domain).hex() == VECTORS["domainSeparator"]
    if beyond_ours(vector):
        with pytest.raises(ValueError, match="out of range"):
            value_of(vector)
        return
    value = value_of(vector)
    assert "0x" + value.digest(domain).hex() == vector["digest"]
    signed = sign(bytes.fromhex(vector["privateKey"][2:]), domain, value)
    assert "0x" + signed.signature.hex() == vector["signature"]
    assert signed.signer(domain) == address(vector["signer"])


def test_the_vectors_cover_every_kind_within_our_range() -> None:
    usable = {vector["type"] for vector in VECTORS["vectors"] if not beyond_ours(vector)}
    assert usable == {"Reservation", "Voucher", "Session", "Attestation"}


@given(key=keys, domain=domains, other=domains, value=vouchers)
def test_a_signature_holds_for_one_contract_on_one_chain(
    key: bytes, domain: Domain, other: Domain, value: Voucher
) -> None:
    signed = sign_voucher(key, domain, value)
    if other != domain:
        assert value.digest(domain) != value.digest(other)
        with suppress(RemoteFault):
            assert signed.signer(other) != account_address(key)


@given(key=keys, domain=domains, value=vouchers, signature=st.binary(min_size=65, max_size=65))
def test_any_signature_bytes_recover_someone_else_or_fail_clearly(
    key: bytes, domain: Domain, value: Voucher, signature: bytes
) -> None:
    try:
        signer = SignedVoucher(signature=signature, voucher=value).signer(domain)
    except RemoteFault as fault:
        assert fault.code == "garbage"
    else:
        assert signer != account_address(key)


@given(key=keys, domain=domains, value=vouchers)
def test_the_larger_twin_of_a_signature_is_refused(
    key: bytes, domain: Domain, value: Voucher
) -> None:
    signature = sign_digest(key, value.digest(domain))
    s = ORDER - int.from_bytes(signature[32:64], "big")
    twin = signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])
    with pytest.raises(RemoteFault):
        SignedVoucher(signature=twin, voucher=value).signer(domain)


@settings(max_examples=20)
@given(key=keys, domain=domains, value=attestations)
def test_a_proof_shows_the_hash_of_what_is_covered_and_the_same_signer(
    key: bytes, domain: Domain, value: Attestation
) -> None:
    proof = sign_attestation(key, domain, value).proof
    assert proof.covers == keccak256(value.covers.encode())
    assert proof.digest(domain) == value.digest(domain)
    assert proof.signer(domain) == account_address(key)


@pytest.mark.parametrize(
    "changes",
    [
        {"operator": "0x" + "AB" * 20},
        {"provider": ""},
        {"provider": "Open AI"},
        {"provider": "a" * 129},
        {"document": b"short"},
        {"covers": ""},
        {"covers": "x" * (MAX_COVERS + 1)},
        {"covers": "two\nlines"},
        {"expires": -1},
        {"expires": 2**63},
    ],
)
def test_an_attestation_out_of_bounds_cannot_be_made(changes: dict[str, Any]) -> None:
    values: dict[str, Any] = {
        "operator": "0x" + "ab" * 20,
        "provider": "openai",
        "document": bytes(32),
        "covers": "resale",
        "expires": 1,
    }
    Attestation(**values)
    with pytest.raises(ValueError):
        Attestation(**(values | changes))
