"""Which offers count: their sharing basis is checked, and private ones are for their owner."""

import asyncio

from ricochet_orchestrator.offers import Offers
from ricochet_protocol.advert import Advert, ModelOffer, SignedAdvert
from ricochet_protocol.eip712 import Attestation, AttestationProof, sign_attestation
from ricochet_protocol.ids import Address, Hash32, ModelId, PeerId
from ricochet_protocol.money import PricePerMillion
from ricochet_protocol.sharing import Basis
from ricochet_protocol.signing import account_address, peer_of
from twins.settlement import DOMAIN, MemorySettlement

KEY = b"\x44" * 32
OPERATOR = account_address(KEY)
PEER = peer_of(b"\x22" * 32)
NOW = 1_800_000_000


class OnePeer:
    """A directory that holds one advert."""

    peer = peer_of(b"\x33" * 32)

    def __init__(self, signed: SignedAdvert) -> None:
        self._signed = signed

    def directory(self) -> tuple[SignedAdvert, ...]:
        return (self._signed,)


def model(name: str, basis: Basis, price: int = 0) -> ModelOffer:
    units = PricePerMillion(price)
    return ModelOffer(ModelId(name), 2048, units, units, 1, bases=(basis,))


def permission(key: bytes = KEY, expires: int = NOW + 100) -> AttestationProof:
    value = Attestation(OPERATOR, "openai", Hash32(bytes(32)), "resale", expires)
    return sign_attestation(key, DOMAIN, value).proof


def believed(*offers: ModelOffer, proof: AttestationProof | None = None, own: Address | None = None,
             now: int = NOW, registered: PeerId = PEER) -> tuple[str, ...]:  # fmt: skip
    advert = Advert(
        peer=PEER,
        addresses=("/ip4/127.0.0.1/tcp/1",),
        operator=OPERATOR,
        network=DOMAIN.network,
        models=offers,
        region="",
        version="",
        seq=1,
        issued_at=NOW,
        ttl=300,
        permissions=(proof,) if proof else (),
    )
    settlement = MemorySettlement()
    settlement.register_node(OPERATOR, registered, (), OPERATOR)
    peers = OnePeer(SignedAdvert(advert, b""))
    found = Offers(peers, settlement, lambda: now, {own} if own else set())  # type: ignore[arg-type]  # no calls are made

    async def refreshed() -> tuple[str, ...]:
        await found.refresh()
        names = found.models()
        assert all(found.window(name) == 2048 for name in names)
        return names

    return asyncio.run(refreshed())


def test_only_offers_whose_basis_holds_are_on_offer() -> None:
    own, attested = model("own", Basis()), model("bought", Basis("attested", "openai"))
    licensed = model("licensed", Basis("licence", "openai"))
    assert believed(own, attested, proof=permission()) == ("bought", "own")
    assert believed(own, attested, proof=permission(), now=NOW + 100) == ("own",)
    assert believed(own, attested, proof=permission(b"\x55" * 32)) == ("own",)
    assert believed(own, licensed) == ("own",)


def test_a_peer_that_claims_anothers_operator_is_not_believed() -> None:
    """Only the operator can map itself to a peer: the entry is a transaction with its own key."""
    own = model("own", Basis())
    assert believed(own) == ("own",)
    assert believed(own, registered=peer_of(b"\x66" * 32)) == ()


def test_private_offers_are_for_their_owner_alone() -> None:
    private = model("mine", Basis("private"))
    assert believed(private) == ()
    assert believed(private, own=Address("0x" + "77" * 20)) == ()
    assert believed(private, own=OPERATOR) == ("mine",)
