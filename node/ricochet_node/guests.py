"""Whom a node serves: everybody who pays, or whom `private`, `allow` and `deny` of node.yaml name.

A private node sells nothing. It serves the accounts on its list and nobody else, unpaid, with or
without a subscription; a session has to be signed by the account itself or, where there is a
subscription, by its delegate. `allow` and `deny` choose among those who pay.
"""

from collections.abc import Sequence

import msgspec

from ricochet_node.admission import OpenSession, open_session
from ricochet_node.config_values import Wrong
from ricochet_protocol.eip712 import SignedSession
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import Address, Period, address
from ricochet_protocol.ports import Subscription

MAX_LISTED = 10_000
"""Accounts on one list: a longer one belongs into a program of its own."""
_DAY = 24 * 3600


class Guests(msgspec.Struct, frozen=True):
    """The owner's lists; at most `private`, or `allow` and `deny`, are filled."""

    private: frozenset[Address] = frozenset()
    allow: frozenset[Address] = frozenset()
    deny: frozenset[Address] = frozenset()

    def welcome(self, account: Address) -> bool:
        """Whether the lists let an account in."""
        if account in self.deny or (self.allow and account not in self.allow):
            return False
        return not self.private or account in self.private

    def admit(
        self, signed: SignedSession, signer: Address, subscription: Subscription | None, now: float
    ) -> OpenSession:
        """The session of a welcome account; RemoteFault `refused` or `no_session` otherwise.

        `signer` is who signed the session, `subscription` that of the account it names.
        """
        account = signed.session.subscriber
        if not self.welcome(account):
            raise RemoteFault(
                RemoteCode.REFUSED, "this node does not serve your account", "use another node"
            )
        if self.private and signer == account:
            return OpenSession(
                subscriber=account,
                delegate=account,
                expires=signed.session.expires,
                period=subscription.period if subscription else Period(1),
                # Nothing is reserved or claimed, so no period's end cuts a call off.
                period_end=signed.session.expires + _DAY,
            )
        return open_session(signed, signer, subscription, now)


def guests(private: Sequence[str], allow: Sequence[str], deny: Sequence[str]) -> Guests:
    """The lists of node.yaml, checked; Wrong names the field."""
    if private and (allow or deny):
        raise Wrong("private: it says already who is served; leave out allow and deny")
    found = Guests(
        private=_accounts("private", private),
        allow=_accounts("allow", allow),
        deny=_accounts("deny", deny),
    )
    if both := found.allow & found.deny:
        raise Wrong(f"deny: {min(both)} is on the list allow as well")
    return found


def _accounts(field: str, texts: Sequence[str]) -> frozenset[Address]:
    if len(texts) > MAX_LISTED:
        raise Wrong(f"{field}: at most {MAX_LISTED} accounts")
    try:
        return frozenset(address(text) for text in texts)
    except ValueError as error:
        raise Wrong(f'{field}: {error}; write accounts in quotes, "0x" and 40 hex digits') from None
