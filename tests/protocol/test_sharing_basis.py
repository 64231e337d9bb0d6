"""By what right an offer is sold: what an advert may say of it, and what peers believe."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_samples import (
    ADVERT,
    ATTESTED,
    DOMAIN,
    OFFER,
    OPERATOR_KEY,
    PERMISSION,
    SIGNED_ADVERT,
)

from ricochet_protocol.advert import Advert, ModelOffer, SignedAdvert
from ricochet_protocol.eip712 import AttestationProof, Domain, sign_attestation
from ricochet_protocol.ids import Address
from ricochet_protocol.money import PricePerMillion
from ricochet_protocol.sharing import LICENSED, Basis

NOW = float(ADVERT.issued_at)
PROOF = PERMISSION.proof
_decoder = msgspec.msgpack.Decoder(SignedAdvert)


def advert(offer: ModelOffer = ATTESTED, proof: AttestationProof | None = PROOF) -> Advert:
    return msgspec.structs.replace(
        ADVERT, models=(offer,), permissions=() if proof is None else (proof,)
    )


def proof(**changes: Any) -> AttestationProof:
    return msgspec.structs.replace(PROOF, **changes)


def test_an_attested_offer_is_believed_until_its_permission_ends() -> None:
    end = PROOF.expires
    assert ADVERT.believed(ATTESTED.id, DOMAIN, end - 1) == ATTESTED
    assert ADVERT.believed(ATTESTED.id, DOMAIN, end) is None
    assert ADVERT.believed(OFFER.id, DOMAIN, end) == OFFER, "the others stay"


def signed_by(key: bytes, **changes: Any) -> AttestationProof:
    value = msgspec.structs.replace(PERMISSION.attestation, **changes)
    return sign_attestation(key, DOMAIN, value).proof


FORGED = {
    "no signature": proof(signature=bytes(65)),
    "another key's": signed_by(b"\x55" * 32),
    "another operator's own": signed_by(OPERATOR_KEY, operator=Address("0x" + "77" * 20)),
    "a longer life": proof(expires=PROOF.expires + 1),
    "another document": proof(document=bytes(32)),
    "more than was covered": proof(covers=bytes(32)),
}


@pytest.mark.parametrize("false", FORGED.values(), ids=FORGED.keys())
def test_a_forged_permission_is_worth_nothing(false: AttestationProof) -> None:
    assert advert(proof=false).believed(ATTESTED.id, DOMAIN, NOW) is None


def test_a_permission_holds_on_one_network() -> None:
    other = Domain(chain_id=DOMAIN.chain_id + 1, contract=DOMAIN.contract)
    assert ADVERT.believed(ATTESTED.id, other, NOW) is None


def test_a_licence_is_believed_only_of_providers_known_to_give_one() -> None:
    assert not LICENSED
    for provider in ("openai", "mistral", "api.example.com"):
        offer = msgspec.structs.replace(OFFER, bases=(Basis("licence", provider),))
        assert advert(offer, None).believed(OFFER.id, DOMAIN, NOW) is None


def test_a_model_that_is_not_offered_is_not_believed() -> None:
    assert advert(OFFER, None).believed(ATTESTED.id, DOMAIN, NOW) is None


OUT_OF_BOUNDS: dict[str, dict[str, Any]] = {
    "an attested offer without a permission": {"permissions": ()},
    "a permission of another provider": {"permissions": (proof(provider="openai"),)},
    "one too many": {"permissions": (PROOF, proof(provider="openai"))},
    "twice the same": {"permissions": (PROOF, PROOF)},
    "a permission nobody needs": {"models": (OFFER,)},
}


@pytest.mark.parametrize("changes", OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS.keys())
def test_permissions_are_those_the_offers_need(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        msgspec.structs.replace(ADVERT, **changes)
    fields = msgspec.to_builtins(SIGNED_ADVERT, builtin_types=[bytes])
    fields["advert"].update(msgspec.to_builtins(changes, builtin_types=[bytes]))
    with pytest.raises(msgspec.ValidationError):
        _decoder.decode(msgspec.msgpack.encode(fields))


def test_an_advert_has_at_most_eight_permissions() -> None:
    names = [f"host{n}.example" for n in range(9)]
    proofs = tuple(proof(provider=name) for name in names)
    offers = tuple(
        msgspec.structs.replace(ATTESTED, bases=(Basis("attested", name),)) for name in names
    )
    msgspec.structs.replace(ADVERT, models=offers[:8], permissions=proofs[:8])
    with pytest.raises(ValueError, match="at most 8"):
        msgspec.structs.replace(ADVERT, models=offers, permissions=proofs)


@pytest.mark.parametrize(
    ("kind", "provider"),
    [("own", "openai"), ("private", "openai"), ("attested", ""), ("licence", ""),
     ("attested", "Open AI"), ("attested", "a" * 129)],
)  # fmt: skip
def test_a_basis_names_a_provider_only_where_its_word_counts(kind: Any, provider: str) -> None:
    with pytest.raises(ValueError):
        Basis(kind, provider)


def test_what_is_private_has_no_price() -> None:
    with pytest.raises(ValueError, match="no price"):
        msgspec.structs.replace(OFFER, bases=(Basis("private"),))
    free = PricePerMillion(0)
    private = msgspec.structs.replace(
        OFFER, bases=(Basis("private"),), price_in=free, price_out=free
    )
    assert advert(private, None).believed(OFFER.id, DOMAIN, NOW) == private


@settings(max_examples=40)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "operator": st.sampled_from([ADVERT.operator, "0x" + "77" * 20]),
            "document": st.binary(min_size=32, max_size=32),
            "covers": st.binary(min_size=32, max_size=32),
            "expires": st.integers(0, 2**63 - 1),
            "signature": st.binary(min_size=65, max_size=65),
        },
    )
)
def test_no_change_of_a_permission_is_believed(changes: dict[str, Any]) -> None:
    changed = proof(**changes)
    believed = advert(proof=changed).believed(ATTESTED.id, DOMAIN, NOW)
    assert (believed is not None) == (changed == PROOF)
