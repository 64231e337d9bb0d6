"""The contract on the EVM beside its model: one call made on both, then everything compared.

Six accounts do everything, so that roles overlap: a subscriber is another's delegate and runs a
node, the owner runs a node, payouts are shared. Every sequence starts where there is something to
do: the first two accounts have money and are in their second periods, one by renewal and one by
subscribing again, the windows of the first periods are open, and two nodes are registered.
"""

from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from contract_evm import Contract, Event, Evm, Reverted
from contract_facts import DAY, PERIOD, UINT256, Refused
from contract_model import Logged, Model, Permit
from contract_signatures import ACCOUNTS, POOL, USD, Signed, permit, row

FEES = (5_000_000, 10_000_000)
GENESIS = 1_800_000_000
OWNER = ACCOUNTS[4]
_USD, _POOL = Contract("TestUSD"), Contract("Ricochet")
NAMES = {
    "subscribe": "subscribe",
    "subscribeWithPermit": "subscribe_with_permit",
    "renew": "renew",
    "setAutoRenew": "set_auto_renew",
    "setDelegate": "set_delegate",
    "topUp": "top_up",
    "refund": "refund",
    "reserve": "reserve",
    "claim": "claim",
    "close": "close",
    "registerNode": "register_node",
    "updateNode": "update_node",
    "queuePayout": "queue_payout",
    "cancelPayout": "cancel_payout",
    "applyPayout": "apply_payout",
    "withdraw": "withdraw",
    "pause": "pause",
    "unpause": "unpause",
    "transferOwnership": "transfer_ownership",
    "acceptOwnership": "accept_ownership",
    "renounceOwnership": "renounce_ownership",
}
"""Every function of the contract that changes something, and the model's method for it."""


class Pair:
    """Both sides in the same state; `seen` counts what has happened, for tests of coverage."""

    def __init__(self) -> None:
        self.evm = Evm(GENESIS)
        self.model = Model(POOL, OWNER, FEES, ACCOUNTS, GENESIS)
        self.seen: Counter[tuple[str, str]] = Counter()
        self.signed: dict[str, list[Signed]] = {"reserve": [], "claim": []}
        self.evm.create(_USD, USD)
        self.evm.create(_POOL, POOL, USD, OWNER, *FEES)
        for account in ACCOUNTS[:2]:
            self.mint(account, 10 * FEES[1])
            self.approve(account, UINT256)
            self.call(account, "subscribe", FEES[1], ACCOUNTS[5], True)
        for account in ACCOUNTS[2:4]:
            self.call(account, "registerNode", "peer", (), account)
        self.warp(GENESIS + PERIOD - DAY)
        self.call(ACCOUNTS[2], "renew", ACCOUNTS[0])
        self.warp(GENESIS + PERIOD)
        self.call(ACCOUNTS[1], "subscribe", FEES[0], ACCOUNTS[3], False)
        self._start = (self.evm.snapshot(), deepcopy(self.model))

    def rewind(self) -> None:
        """Back to the state after construction."""
        snapshot, model = self._start
        self.evm.revert(snapshot)
        self._start = (self.evm.snapshot(), model)
        self.model = deepcopy(model)
        self.signed = {"reserve": [], "claim": []}

    # ------------------------------------------------------------ operations

    def mint(self, to: str, amount: int) -> None:
        """Test money, which anybody may make."""
        self.evm.write(to, USD, "mint", to, amount)
        self.model.mint(to, amount)
        self.compare()

    def approve(self, owner: str, amount: int) -> None:
        """How much the contract may take."""
        self.evm.write(owner, USD, "approve", POOL, amount)
        self.model.approve(owner, amount)
        self.compare()

    def warp(self, moment: int) -> None:
        """Let time pass until `moment`; nothing when that has passed."""
        self.model.now = self.evm.now = max(moment, self.model.now)
        self.compare()

    def call(self, sender: str, name: str, *arguments: Any) -> None:
        """A function with the same arguments on both sides."""
        self._both(sender, name, arguments, arguments)

    def batch(self, sender: str, name: str, entries: Sequence[Signed], signatures: int) -> None:
        """`reserve` or `claim` with the first `signatures` of the signatures."""
        rows = [row(signed.entry) for signed in entries]
        blobs = [signed.signature for signed in entries][:signatures]
        self.signed[name].extend(entries)
        self._both(sender, name, (rows, blobs), ([s.entry for s in entries], len(blobs)))

    def subscribe_with_permit(
        self, sender: str, fee: int, delegate: str, auto_renew: bool, fault: str | None
    ) -> None:
        """With a permit that has one `fault`, or none; `used` is one that was sent before."""
        nonce = self.model.token.nonces[sender] + (fault == "nonce")
        deadline = self.model.now - (fault == "expired")
        amount = fee ^ (fault == "amount")  # a fee of nothing has none below it
        tail = (deadline, *permit(sender, amount, nonce, deadline))
        if fault == "used":
            self.evm.write(OWNER, USD, "permit", sender, POOL, fee, *tail)
            self.model.permit(sender, fee)
            self.compare()
        plain = (fee, delegate, auto_renew)
        self._both(sender, "subscribeWithPermit", (*plain, *tail), (*plain, Permit(fault is None)))

    # ------------------------------------------------------------ comparison

    def compare(self) -> None:
        """Every view, and every token balance, allowance and nonce, on both sides."""
        for name, arguments, expected in self.model.views():
            assert self.evm.view(POOL, name, *arguments) == expected, (name, arguments)
        token = self.model.token
        for account in (*ACCOUNTS, POOL):
            held, allowed = token.balances[account], token.allowances[account]
            assert self.evm.view(USD, "balanceOf", account) == held, account
            assert self.evm.view(USD, "allowance", account, POOL) == allowed, account
            assert self.evm.view(USD, "nonces", account) == token.nonces[account], account
        assert token.balances[POOL] == self.model.liabilities() + self.model.donated

    def _both(
        self, sender: str, name: str, arguments: Sequence[Any], model_side: Sequence[Any]
    ) -> None:
        try:
            expected = getattr(self.model, NAMES[name])(sender, *model_side)
        except Refused as refused:
            error = self._refusal(sender, name, arguments)
            assert error in refused.errors, (error, refused.errors)
            self.seen[name, error[0]] += 1
        else:
            events = self.evm.write(sender, POOL, name, *arguments)
            self._require_events(name, events, expected)
        self.compare()

    def _require_events(self, name: str, events: list[Event], expected: list[Logged]) -> None:
        if name not in ("reserve", "claim"):
            # Entries of a batch are in order; nothing says in which order one call's events are.
            events = sorted(events, key=lambda event: event.name)
            expected = sorted(expected)
        assert len(events) == len(expected), (events, expected)
        for event, logged in zip(events, expected, strict=True):
            _require_event(event, logged)
            reason = f" {event.values[-1]}" if event.name.endswith("Skipped") else ""
            self.seen[name, event.name + reason] += 1
        if not events:
            self.seen[name, "nothing"] += 1

    def _refusal(self, sender: str, name: str, arguments: Sequence[Any]) -> tuple[Any, ...]:
        try:
            events = self.evm.write(sender, POOL, name, *arguments)
        except Reverted as reverted:
            return reverted.error
        raise AssertionError(f"{name}{arguments} should have been refused, and logged {events}")


def _require_event(event: Event, logged: Logged) -> None:
    name, values = logged
    assert event.name == name, (event, logged)
    for real, expected in zip(event.values, values, strict=True):
        if isinstance(expected, frozenset):
            assert real in expected, (event, logged)
        else:
            assert real == expected, (event, logged)
