"""What may be sold: the policy, attestations against it, and their end while a node runs."""

import asyncio
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from node_bench import Bench, offer, run
from node_bench import config as node_config

from ricochet_node import attestations
from ricochet_node.attestations import State, keep, load, revoke, state_of
from ricochet_node.attesting import Statement, end_of_day
from ricochet_node.keystore import KeyInfo
from ricochet_node.log import EventLog
from ricochet_node.offer import Source
from ricochet_node.policy import Verdict
from ricochet_node.sharing import Owner, Standing, based, check_sharing
from ricochet_node.sharing_watch import LOOK, SharingWatch
from ricochet_protocol.eip712 import (
    Attestation,
    AttestationProof,
    Domain,
    SignedAttestation,
    sign_attestation,
)
from ricochet_protocol.errors import ConfigurationError, RemoteFault, UsageError
from ricochet_protocol.ids import Address, Hash32
from ricochet_protocol.sharing import Basis
from ricochet_protocol.signing import account_address

KEY = b"\x44" * 32
OPERATOR = account_address(KEY)
DOMAIN = Domain(chain_id=1337, contract=Address("0x" + "cd" * 20))
NOW = 1_800_000_000
OPENAI = KeyInfo("v1", "self-made-name", "https://api.openai.com/v1", "abcd")
OWN = KeyInfo("own", "x", "http://127.0.0.1:8080/v1", "abcd")


def signed(key: bytes = KEY, domain: Domain = DOMAIN, **changes: Any) -> SignedAttestation:
    values: dict[str, Any] = {
        "operator": OPERATOR,
        "provider": "openai",
        "document": Hash32(b"\x0d" * 32),
        "covers": "resale",
        "expires": NOW + 100,
    }
    return sign_attestation(key, domain, Attestation(**{**values, **changes}))


def owner(home: Path) -> Owner:
    return Owner(home, OPERATOR, DOMAIN)


def test_a_denied_provider_is_named_with_clause_url_and_what_would_help(tmp_path: Path) -> None:
    standings = owner(tmp_path).of_keys([OWN, OPENAI], NOW)
    assert [one.words for one in standings.values()] == ["allowed", "refused: terms forbid it"]
    with pytest.raises(ConfigurationError) as caught:
        check_sharing(standings)
    assert caught.value.code == "sharing_deny"
    assert "openai" in caught.value.message and "Services Agreement" in caught.value.message
    assert "https://openai.com/" in caught.value.hint
    assert "ricochet policy attest openai" in caught.value.hint


@pytest.mark.parametrize(
    ("origin", "provider"),
    [
        ("https://api.example.com/v1", "api.example.com"),
        ("https://api.deepseek.com/v1", "deepseek"),
    ],
)
def test_an_unknown_provider_is_refused_like_a_denied_one(
    tmp_path: Path, origin: str, provider: str
) -> None:
    key = msgspec.structs.replace(OPENAI, origin=origin)
    with pytest.raises(ConfigurationError) as caught:
        check_sharing(owner(tmp_path).of_keys([key], NOW))
    assert caught.value.code == "sharing_unknown"
    assert provider in caught.value.message
    assert f"ricochet policy attest {provider}" in caught.value.hint


def test_an_attestation_lifts_the_refusal_until_it_expires(tmp_path: Path) -> None:
    keep(tmp_path, signed())
    standings = owner(tmp_path).of_keys([OPENAI], NOW)
    check_sharing(standings)
    assert standings["v1"].words == "attested until 2027-01-15"
    assert standings["v1"].until == NOW + 100
    (shown,) = based([offer()], standings)
    assert shown.shown.bases == (Basis("attested", "openai"),)
    with pytest.raises(ConfigurationError) as caught:
        check_sharing(owner(tmp_path).of_keys([OPENAI], NOW + 100))
    assert "expired" in caught.value.message


@pytest.mark.parametrize(
    "foreign",
    [
        signed(b"\x55" * 32),
        signed(b"\x55" * 32, operator=account_address(b"\x55" * 32)),
        signed(domain=Domain(chain_id=1, contract=DOMAIN.contract)),
        SignedAttestation(attestation=signed().attestation, signature=bytes(65)),
        SignedAttestation(
            attestation=msgspec.structs.replace(signed().attestation, expires=NOW + 999),
            signature=signed().signature,
        ),
    ],
    ids=["another signer", "another wallet", "another network", "no signature", "prolonged"],
)
def test_what_this_wallet_did_not_sign_for_this_network_counts_for_nothing(
    tmp_path: Path, foreign: SignedAttestation
) -> None:
    assert state_of(foreign, OPERATOR, DOMAIN, NOW) is State.FOREIGN
    keep(tmp_path, foreign)
    with pytest.raises(ConfigurationError, match="foreign"):
        check_sharing(owner(tmp_path).of_keys([OPENAI], NOW))


def test_without_wallet_or_network_no_attestation_counts(tmp_path: Path) -> None:
    keep(tmp_path, signed())
    standing = Owner.of(tmp_path).of_provider("openai", NOW)
    assert (standing.state, standing.allowed) == (State.FOREIGN, False)


def test_an_advert_holds_eight_attested_providers(tmp_path: Path) -> None:
    hosts = [f"api{n}.example" for n in range(9)]
    for host in hosts:
        keep(tmp_path, signed(provider=host))
    keys = [KeyInfo(f"k{n}", "x", f"https://{host}", "") for n, host in enumerate(hosts)]
    check_sharing(owner(tmp_path).of_keys(keys[:8], NOW))
    with pytest.raises(ConfigurationError) as caught:
        check_sharing(owner(tmp_path).of_keys(keys, NOW))
    assert caught.value.code == "too_many_permissions"


def test_attestations_are_private_replaced_and_revoked(tmp_path: Path) -> None:
    keep(tmp_path, signed())
    keep(tmp_path, signed(provider="groq"))
    keep(tmp_path, signed(covers="more"))
    path = tmp_path / attestations.FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {name: one.attestation.covers for name, one in load(tmp_path).items()} == {
        "groq": "resale", "openai": "more",
    }  # fmt: skip
    revoke(tmp_path, "openai")
    assert list(load(tmp_path)) == ["groq"]
    with pytest.raises(ConfigurationError) as caught:
        revoke(tmp_path, "openai")
    assert caught.value.code == "no_attestation"


@pytest.mark.parametrize(
    "text", [b"{", b"\xff", b'{"version":2,"attestations":[]}', b'{"version":1}', b"[" * 9999]
)
def test_a_damaged_file_is_an_error_never_a_permission(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / attestations.FILE_NAME
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        owner(tmp_path).of_keys([OPENAI], NOW)
    assert caught.value.code == "attestations_damaged" and caught.value.hint


@pytest.mark.parametrize("text", ["", "tomorrow", "2027-13-01", "2020-01-01", "9999-12-31"])
def test_a_day_that_does_not_lie_ahead_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        end_of_day(text, NOW)
    assert caught.value.code == "bad_date"


def test_a_permission_holds_through_its_last_day() -> None:
    assert end_of_day("2027-01-15", NOW) == 1_800_057_600
    assert end_of_day("2027-01-15", 1_800_057_599) == 1_800_057_600
    with pytest.raises(UsageError):
        end_of_day("2027-01-15", 1_800_057_600)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"provider": "ollama"}, "nothing_to_attest"),
        ({"provider": "openai-compatible"}, "nothing_to_attest"),
        ({"provider": "API.example.com"}, "bad_provider"),
        ({"covers": ""}, "bad_covers"),
        ({"covers": "x" * 257}, "bad_covers"),
        ({"covers": "\x1b[2J"}, "bad_covers"),
    ],
)
def test_what_cannot_be_attested_is_refused(changes: dict[str, Any], code: str) -> None:
    statement = Statement("openai", Hash32(bytes(32)), "resale", NOW)
    statement.check()
    with pytest.raises(UsageError) as caught:
        msgspec.structs.replace(statement, **changes).check()
    assert caught.value.code == code


def test_a_document_is_hashed_and_must_be_one(tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_bytes(b"abc")
    assert attestations.document_hash(letter).hex().startswith("ba7816bf8f01cfea")
    letter.write_bytes(b"")
    for path in (letter, tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError) as caught:
            attestations.document_hash(path)
        assert caught.value.code == "bad_document"


def watch_of(bench: Bench, keys: list[KeyInfo]) -> SharingWatch:
    def look(now: float) -> Mapping[str, Standing]:
        return Owner(bench.home, OPERATOR, DOMAIN).of_keys(keys, now)

    return SharingWatch(look, bench.node.book, lambda: bench.chain.now, EventLog(bench.log_text))


def permissions(bench: Bench) -> tuple[AttestationProof, ...]:
    return bench.node.book.permissions_of(bench.supply.capacity.shown())


ATTESTED = offer(bases=(Basis("attested", "openai"),))


def test_a_node_withdraws_what_expires_and_says_so(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        now = bench.chain.now
        keep(bench.home, signed(expires=now + 5))
        watch = watch_of(bench, [OPENAI])
        assert watch.check() == 5, "the next look is the moment at which it ends"
        assert [one.provider for one in permissions(bench)] == ["openai"]
        keep(bench.home, signed(expires=now + 3600))
        assert watch.check() == LOOK
        assert permissions(bench)[0].expires == now + 3600, "renewed without a restart"
        bench.chain.now += 3600
        watch.check()
        assert bench.supply.capacity.shown() == () and permissions(bench) == ()
        (event,) = bench.events("sharing_ended")
        assert (event["model"], event["reason"]) == (
            "m", "refused: terms forbid it, attestation expired",
        )  # fmt: skip
        await bench.client.hello()
        with pytest.raises(RemoteFault) as caught:
            await bench.client.ask()
        assert caught.value.code == "no_model"
        assert watch.check() == LOOK and len(bench.events("sharing_ended")) == 1

    keep(tmp_path, signed(expires=2**62))
    standing = {"v1": Owner(tmp_path, OPERATOR, DOMAIN).of_origin(OPENAI.origin, NOW)}
    run(tmp_path, scenario, node_config(offers=(ATTESTED,)), lambda now: standing)


@pytest.mark.parametrize("how", ["revoked", "damaged"])
def test_a_node_withdraws_what_is_revoked_or_cannot_be_read(tmp_path: Path, how: str) -> None:
    async def scenario(bench: Bench) -> None:
        keep(bench.home, signed(expires=bench.chain.now + 3600))
        watch = watch_of(bench, [OPENAI, OWN])
        watch.check()
        if how == "revoked":
            revoke(bench.home, "openai")
        else:
            (bench.home / attestations.FILE_NAME).write_bytes(b"{")
        watch.check()
        assert [one.id for one in bench.supply.capacity.shown()] == ["mine"]
        assert len(bench.events("sharing_unreadable")) == (how == "damaged")
        assert [event["model"] for event in bench.events("sharing_ended")] == ["m"]

    own = msgspec.structs.replace(offer(id="mine"), sources=(Source("own", "real"),))
    run(tmp_path, scenario, node_config(offers=(offer(), own)))


def test_the_running_node_watches_and_advertises_its_permissions(tmp_path: Path) -> None:
    standing = Standing("openai", Verdict.DENY, None, signed(), State.VALID)
    ended = Standing("openai", Verdict.DENY, None, signed(), State.EXPIRED)
    looks: list[float] = []

    def look(now: float) -> Mapping[str, Standing]:
        looks.append(now)
        # The first look is before the node joins, the second its task's.
        return {"v1": standing if len(looks) < 2 else ended}

    async def scenario(bench: Bench) -> None:
        async with asyncio.timeout(10):
            while bench.supply.capacity.shown():  # noqa: ASYNC110 - the book tells nobody but the advertiser
                await asyncio.sleep(0.002)
        assert len(bench.events("sharing_ended")) == 1
        assert len(looks) >= 2

    run(tmp_path, scenario, node_config(offers=(ATTESTED,)), look)
