"""What a relay promises stays within its limits, whatever is asked of it in whatever order."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ricochet_network.relay_book import Circuit, RelayBook, RelayLimits
from ricochet_protocol.circuit import Status
from ricochet_protocol.ids import PeerId

LIMITS = RelayLimits(
    reservations=4,
    reservations_near=2,
    period=100.0,
    circuits=6,
    circuits_to=3,
    circuits_from=2,
    circuits_near=4,
    data=1000,
    rate=100.0,
)
PEERS = st.sampled_from([PeerId(one) for one in "abcdefg"])
HOSTS = st.sampled_from(["8.8.8.8", "9.9.9.9", "2001:db8::1", "2001:db8::2", ""])
NEAR = {"2001:db8::2": "2001:db8::1"}
"""Addresses of one /64 are one customer's."""


class Asked(RuleBasedStateMachine):
    """A relay, and a plain model of what it has promised."""

    def __init__(self) -> None:
        super().__init__()
        self.book = RelayBook(LIMITS)
        self.now = 0.0
        self.until: dict[PeerId, tuple[float, str]] = {}
        self.open: list[tuple[Circuit, str]] = []

    def valid(self) -> dict[PeerId, str]:
        return {one: host for one, (until, host) in self.until.items() if until > self.now}

    @rule(seconds=st.sampled_from([0.5, 30.0, 70.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(peer=PEERS, host=HOSTS)
    def reserve(self, peer: PeerId, host: str) -> None:
        source = NEAR.get(host, host)
        others = [at for one, at in self.valid().items() if one != peer]
        full = len(others) >= LIMITS.reservations
        crowded = bool(source) and others.count(source) >= LIMITS.reservations_near
        status = self.book.reserve(peer, host, self.now)
        assert status is (Status.RESERVATION_REFUSED if full or crowded else Status.OK)
        if status is Status.OK:
            self.until[peer] = (self.now + LIMITS.period, source)

    @rule(caller=PEERS, callee=PEERS, host=HOSTS)
    def connect(self, caller: PeerId, callee: PeerId, host: str) -> None:
        source = NEAR.get(host, host)
        circuit = self.book.connect(caller, callee, host, self.now)
        if caller == callee:
            assert circuit is Status.PERMISSION_DENIED
        elif callee not in self.valid():
            assert circuit is Status.NO_RESERVATION
        elif isinstance(circuit, Circuit):
            self.open.append((circuit, source))
        else:
            assert circuit is Status.RESOURCE_LIMIT_EXCEEDED
            assert (
                len(self.open) == LIMITS.circuits
                or self.of("caller", caller) == LIMITS.circuits_from
                or self.of("callee", callee) == LIMITS.circuits_to
                or sum(at == source for _, at in self.open) == LIMITS.circuits_near
            )

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        if self.open:
            circuit, _ = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            self.book.close(circuit)
            self.book.close(circuit)

    @rule(peer=PEERS)
    def gone(self, peer: PeerId) -> None:
        self.book.gone(peer)
        self.until.pop(peer, None)

    def of(self, side: str, peer: PeerId) -> int:
        return sum(getattr(circuit, side) == peer for circuit, _ in self.open)

    @invariant()
    def within_limits(self) -> None:
        assert self.book.circuits == len(self.open) <= LIMITS.circuits
        assert len(self.valid()) <= LIMITS.reservations
        for circuit, source in self.open:
            assert self.of("caller", circuit.caller) <= LIMITS.circuits_from
            assert self.of("callee", circuit.callee) <= LIMITS.circuits_to
            near = sum(at == source for _, at in self.open)
            assert not source or near <= LIMITS.circuits_near


TestAsked = Asked.TestCase


def test_bytes_are_counted_each_way_and_slowed_together() -> None:
    book = RelayBook(LIMITS)
    a, b = PeerId("a"), PeerId("b")
    assert book.reserve(b, "", 0.0) is Status.OK
    circuit = book.connect(a, b, "", 0.0)
    other = book.connect(PeerId("c"), b, "", 0.0)
    assert isinstance(circuit, Circuit) and isinstance(other, Circuit)
    assert book.pass_on(circuit, a, 200, 0.0) == 0.0, "two seconds' worth at once"
    assert book.pass_on(other, b, 100, 0.0) == 1.0, "the rate is of all circuits"
    assert book.pass_on(circuit, a, 801, 100.0) is None, "one byte too many that way"
    assert book.pass_on(circuit, b, 1000, 200.0) is not None, "the other way has its own"
