"""Which vouchers are claimed now: the rules as arithmetic."""

from hypothesis import given
from hypothesis import strategies as st
from node_bench import DELEGATE_KEY, OPERATOR, STRANGER_KEY, SUBSCRIBER, SUBSCRIBER_KEY

from ricochet_node.claiming import Claimable, Haste, affordable, choose, judge
from ricochet_node.config import ClaimSettings
from ricochet_protocol.eip712 import SignedVoucher, Voucher
from ricochet_protocol.ids import Period
from ricochet_protocol.money import CLAIM_WINDOW, Units
from ricochet_protocol.ports import Commitment, Subscription
from ricochet_protocol.signing import account_address

END = 1_000_000
DELEGATE = account_address(DELEGATE_KEY)
SETTINGS = ClaimSettings(minimum=Units(1_000), ether_price=Units(1_000_000))
"""A coin is worth a dollar: 10**12 wei are a unit."""


def paper(cumulative: int) -> SignedVoucher:
    value = Voucher(SUBSCRIBER, OPERATOR, Period(1), Units(cumulative))
    return SignedVoucher(voucher=value, signature=bytes(65))


def judged(
    cumulative: int = 100,
    *,
    signer: bytes = DELEGATE_KEY,
    committed: int = 0,
    claimed: int = 0,
    free: int = 10_000,
    now: int = 0,
) -> Claimable:
    period = Subscription(
        subscriber=SUBSCRIBER,
        delegate=DELEGATE,
        period=Period(1),
        budget=Units(committed + free),
        committed=Units(committed),
        paid=Units(claimed),
        start=0,
        end=END,
    )
    held = Commitment(committed=Units(committed), claimed=Units(claimed))
    return judge(paper(cumulative), account_address(signer), period, held, now, SETTINGS)


def claimable(payable: int, haste: Haste = Haste.NONE, claimed: int = 0) -> Claimable:
    return Claimable(
        voucher=paper(claimed + payable),
        claimed=Units(claimed),
        payable=Units(payable),
        budget=Units(0),
        haste=haste,
    )


def test_payable_is_what_commitment_and_free_budget_reach() -> None:
    assert judged(100).payable == 100
    assert judged(100, claimed=40, committed=60).payable == 60
    assert judged(100, committed=60, free=10).payable == 70
    assert judged(100, committed=60, claimed=60, free=0).payable == 0
    assert judged(50, committed=60, claimed=60).payable == 0


def test_the_end_of_the_window_hurries() -> None:
    forced_at = END + CLAIM_WINDOW - SETTINGS.before_expiry
    assert judged(now=forced_at - 1).haste is Haste.NONE
    assert judged(now=forced_at).haste is Haste.NOW


def test_another_delegate_hurries_and_most_above_the_commitment() -> None:
    assert judged(signer=SUBSCRIBER_KEY).haste is Haste.NONE
    assert judged(100, signer=STRANGER_KEY, committed=100).haste is Haste.SOON
    assert judged(101, signer=STRANGER_KEY, committed=100).haste is Haste.NOW


def test_below_the_minimum_only_what_hurries_is_chosen() -> None:
    slow, soon, now = (claimable(100, haste) for haste in Haste)
    assert choose([slow, soon, now], SETTINGS) == (now, soon)
    assert choose([slow], SETTINGS) == ()
    rich = claimable(700)
    assert choose([slow, soon, now, rich], SETTINGS) == (now, soon, rich, slow)
    assert choose([claimable(0, Haste.NOW)], SETTINGS) == ()


def test_each_voucher_pays_for_its_part_of_the_gas() -> None:
    # Its share is 70 and a tenth of that may be gas: 7 units.
    assert affordable([claimable(100)], 7 * 10**12, SETTINGS)
    assert not affordable([claimable(100)], 7 * 10**12 + 1, SETTINGS)
    rich, poor = claimable(1_000), claimable(10)
    assert affordable([rich, poor], 2 * 7 * 10**12, SETTINGS) == (rich,)
    assert len(affordable([claimable(100)] * 2, 2 * 7 * 10**12, SETTINGS)) == 2


def test_a_forced_claim_ignores_the_fee_share_but_makes_no_loss() -> None:
    assert affordable([claimable(100, Haste.NOW)], 70 * 10**12, SETTINGS)
    assert not affordable([claimable(100, Haste.NOW)], 70 * 10**12 + 1, SETTINGS)
    assert not affordable([claimable(100, Haste.SOON)], 8 * 10**12, SETTINGS)


def test_the_share_is_the_contracts() -> None:
    assert claimable(1, claimed=9).share == 1
    assert claimable(1, claimed=8).share == 1
    assert claimable(1, claimed=3).share == 0


@given(
    amounts=st.lists(st.tuples(st.integers(1, 10**12), st.sampled_from(Haste)), max_size=20),
    wei=st.integers(0, 10**20),
)
def test_gas_never_takes_more_than_its_limit(amounts: list[tuple[int, Haste]], wei: int) -> None:
    batch = [claimable(amount, haste) for amount, haste in amounts]
    kept = affordable(batch, wei, SETTINGS)
    for one in kept:
        limit = 100 if one.haste is Haste.NOW else SETTINGS.max_fee_percent
        part = wei * SETTINGS.ether_price / len(batch) / 10**18
        assert part <= one.share * limit / 100 * (1 + 1e-9)
    assert affordable(batch, 0, SETTINGS) == tuple(batch)
