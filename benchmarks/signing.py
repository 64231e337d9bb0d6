"""Vouchers signed and verified on one core, beside eth-account: `python benchmarks/signing.py`.

Each round signs and verifies the same vouchers with the protocol's code and with eth-account's
EIP-712, in turn, so that a drift of the machine's speed meets both. Verifying is what a node does:
digest, recovery and comparison with the delegate. Prints JSON: medians of the rates a second and
their ratio to eth-account, after one warm-up round.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data

from ricochet_protocol.eip712 import Domain, SignedVoucher, Voucher, sign_voucher
from ricochet_protocol.ids import Address, Period
from ricochet_protocol.money import Units
from ricochet_protocol.signing import account_address

ROUNDS = 7
OURS, THEIRS = 2_000, 200
TARGET = 5_000
KEY = bytes([0xDE]) * 32
DELEGATE = account_address(KEY)
DOMAIN = Domain(chain_id=31337, contract=Address("0x" + "c0" * 20))
TYPES = {
    "Voucher": [
        {"name": "subscriber", "type": "address"},
        {"name": "node", "type": "address"},
        {"name": "period", "type": "uint32"},
        {"name": "cumulative", "type": "uint128"},
    ]
}


def voucher(cumulative: int) -> Voucher:
    return Voucher(
        subscriber=Address("0x" + "a1" * 20),
        node=Address("0x" + "0a" * 20),
        period=Period(1),
        cumulative=Units(cumulative),
    )


def verify(signed: SignedVoucher) -> None:
    assert signed.signer(DOMAIN) == DELEGATE


def typed(value: Voucher) -> object:
    fields = {
        "subscriber": value.subscriber,
        "node": value.node,
        "period": value.period,
        "cumulative": value.cumulative,
    }
    domain = {
        "name": "Ricochet",
        "version": "1",
        "chainId": DOMAIN.chain_id,
        "verifyingContract": DOMAIN.contract,
    }
    return encode_typed_data(domain, TYPES, fields)


def their_sign(value: Voucher) -> bytes:
    return bytes(Account.sign_message(typed(value), KEY).signature)


def their_verify(signed: SignedVoucher) -> None:
    recovered = Account.recover_message(typed(signed.voucher), signature=signed.signature)
    assert recovered.lower() == DELEGATE


def rate(call: Callable[[Any], object], values: list[Any]) -> float:
    start = time.process_time()
    for value in values:
        call(value)
    return len(values) / (time.process_time() - start)


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    values = [voucher(number) for number in range(1, OURS + 1)]
    signed = [sign_voucher(KEY, DOMAIN, value) for value in values]
    assert their_sign(values[0]) == signed[0].signature
    rates: dict[str, list[float]] = {}
    for _ in range(ROUNDS + 1):
        for name, done in (
            ("sign", rate(lambda value: sign_voucher(KEY, DOMAIN, value), values)),
            ("eth_account_sign", rate(their_sign, values[:THEIRS])),
            ("verify", rate(verify, signed)),
            ("eth_account_verify", rate(their_verify, signed[:THEIRS])),
        ):
            rates.setdefault(name, []).append(done)
    medians = {name: statistics.median(found[1:]) for name, found in rates.items()}
    document = {
        "rounds": ROUNDS,
        "load": os.getloadavg()[0],
        "target_per_second": TARGET,
        "median_per_second": {name: round(value) for name, value in medians.items()},
        "ratio_to_eth_account": {
            name: round(medians[name] / medians[f"eth_account_{name}"], 1)
            for name in ("sign", "verify")
        },
        "within_target": min(medians["sign"], medians["verify"]) >= TARGET,
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
