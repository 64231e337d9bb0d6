"""Circuit relay v2 on libp2p's streams: what a relay does, and what its two sides ask of it.

A relay joins a caller's hop stream and a stop stream to the peer that is called, and copies bytes
between them within the limits of its `RelayBook`. The ends run a whole connection over that, with
their own Noise, so that a relay reads nothing and can pretend nothing.

Everything here runs in the trio thread and outside of any connection's nursery, because a circuit
writes to two connections and ends with the first of them (`libp2p_streams` says what that needs).
"""

import logging
import time
from collections.abc import Callable
from typing import Final

import trio
from libp2p.peer.id import ID

from ricochet_network.libp2p_streams import HANDSHAKE, Carrier, SharedStream, hear_untrusted, tell
from ricochet_network.relay_book import Circuit, RelayBook, RelayLimits
from ricochet_protocol.circuit import (
    HOP,
    HOP_CONNECT,
    HOP_RESERVE,
    HOP_STATUS,
    STOP,
    STOP_CONNECT,
    STOP_STATUS,
    Message,
    Reservation,
    Status,
    encode_hop,
    encode_stop,
    hop_untrusted,
    stop_untrusted,
)
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.ids import PeerId, peer_public_key

PIECE: Final = 16 * 1024
"""Bytes copied at once: all circuits share a rate, and each waits for the pieces before its own."""
_log = logging.getLogger(__name__)


class Relay:
    """What this peer does for others; `carrier` finds the connection to a peer."""

    def __init__(self, limits: RelayLimits, carrier: Callable[[PeerId], Carrier | None]) -> None:
        self.book = RelayBook(limits)
        self._carrier = carrier

    async def serve(self, carrier: Carrier, stream: SharedStream) -> None:
        """Answer what a peer asks on a hop stream, and carry the circuit that it may become."""
        try:
            with trio.fail_after(HANDSHAKE):
                asked = await hear_untrusted(stream, hop_untrusted)
        except RemoteFault:
            await _refuse(stream, Status.MALFORMED_MESSAGE)
            raise
        if not carrier.direct:
            await _refuse(stream, Status.PERMISSION_DENIED)
        elif asked.kind == HOP_RESERVE:
            await self._reserve(carrier, stream)
        elif asked.kind == HOP_CONNECT:
            await self._connect_untrusted(carrier, asked.peer, stream)
        else:
            await _refuse(stream, Status.UNEXPECTED_MESSAGE)

    async def _reserve(self, carrier: Carrier, stream: SharedStream) -> None:
        status = self.book.reserve(carrier.remote, carrier.host, trio.current_time())
        if status is not Status.OK:
            await _refuse(stream, status)
            return
        until = Reservation(int(time.time() + self.book.limits.period))
        answer = Message(
            HOP_STATUS, reservation=until, limit=self.book.limits.limit, status=Status.OK
        )
        await tell(stream, encode_hop(answer))

    async def _connect_untrusted(
        self, carrier: Carrier, called: bytes, stream: SharedStream
    ) -> None:
        callee = _peer_untrusted(called)
        if callee is None:
            await _refuse(stream, Status.MALFORMED_MESSAGE)
            return
        now = trio.current_time()
        circuit = self.book.connect(carrier.remote, callee, carrier.host, now)
        if isinstance(circuit, Status):
            await _refuse(stream, circuit)
            return
        try:
            await self._carry(circuit, stream)
        finally:
            self.book.close(circuit)

    async def _carry(self, circuit: Circuit, there: SharedStream) -> None:
        here = None
        try:
            with trio.move_on_after(HANDSHAKE):
                here = await self._stop(circuit)
            if here is None:
                await _refuse(there, Status.CONNECTION_FAILED)
                return
            answer = Message(HOP_STATUS, limit=self.book.limits.limit, status=Status.OK)
            await tell(there, encode_hop(answer))
            with trio.move_on_after(self.book.limits.duration):
                async with trio.open_nursery() as both:
                    both.start_soon(self._copy, circuit, circuit.caller, there, here, both)
                    both.start_soon(self._copy, circuit, circuit.callee, here, there, both)
        finally:
            if here is not None:
                await here.end()

    async def _stop(self, circuit: Circuit) -> SharedStream | None:
        """A stream to the peer that is called, which has agreed; None when it does not."""
        carrier = self._carrier(circuit.callee)
        if carrier is None:
            return None
        agreed, stream = False, None
        try:
            stream = await carrier.open(STOP)
            caller = ID.from_base58(circuit.caller).to_bytes()
            asked = Message(STOP_CONNECT, peer=caller, limit=self.book.limits.limit)
            await tell(stream, encode_stop(asked))
            answer = await hear_untrusted(stream, stop_untrusted)
            agreed = answer.kind == STOP_STATUS and answer.status == Status.OK
            return stream if agreed else None
        except RemoteFault:
            return None
        finally:
            if stream is not None and not agreed:
                await stream.end()

    async def _copy(
        self,
        circuit: Circuit,
        sender: PeerId,
        source: SharedStream,
        sink: SharedStream,
        both: trio.Nursery,
    ) -> None:
        try:
            while data := await source.read(PIECE):
                pause = self.book.pass_on(circuit, sender, len(data), trio.current_time())
                if pause is None:
                    _log.info("a circuit has carried all that it may")
                    both.cancel_scope.cancel()
                    return
                if pause:
                    await trio.sleep(pause)
                await sink.write(data)
            await sink.close()
        except Exception as error:  # the ways in which a stream can end
            _log.debug("a circuit ended: %s", type(error).__name__)
            both.cancel_scope.cancel()


async def reserve(carrier: Carrier) -> float:
    """Ask a peer to pass on to us; for how many seconds it will. RemoteFault."""
    stream = await carrier.open(HOP)
    try:
        await tell(stream, encode_hop(Message(HOP_RESERVE)))
        answer = await hear_untrusted(stream, hop_untrusted)
        _check_untrusted(answer, carrier.remote)
        if answer.reservation is None:
            raise RemoteFault(RemoteCode.GARBAGE, "a reservation without an end")
        return answer.reservation.expire - time.time()
    finally:
        await stream.end()


async def connect(carrier: Carrier, peer: PeerId) -> SharedStream:
    """A circuit to a peer over a relay, which the caller owns; RemoteFault."""
    stream = await carrier.open(HOP)
    done = False
    try:
        called = Message(HOP_CONNECT, peer=ID.from_base58(peer).to_bytes())
        await tell(stream, encode_hop(called))
        _check_untrusted(await hear_untrusted(stream, hop_untrusted), carrier.remote)
        done = True
        return stream
    finally:
        if not done:
            await stream.end()


async def called_untrusted(stream: SharedStream, admit: bool) -> PeerId | None:
    """Who calls, by the relay's word that opened this stop stream; None when it is refused."""
    try:
        with trio.fail_after(HANDSHAKE):
            asked = await hear_untrusted(stream, stop_untrusted)
    except RemoteFault:
        await _answer(stream, Status.MALFORMED_MESSAGE)
        raise
    caller = _peer_untrusted(asked.peer)
    if asked.kind != STOP_CONNECT or caller is None:
        await _answer(stream, Status.UNEXPECTED_MESSAGE)
        return None
    if not admit:
        await _answer(stream, Status.PERMISSION_DENIED)
        return None
    await _answer(stream, Status.OK)
    return caller


def _check_untrusted(answer: Message, relay: PeerId) -> None:
    if answer.kind != HOP_STATUS:
        raise RemoteFault(RemoteCode.GARBAGE, "a relay's answer that is none")
    if answer.status == Status.OK:
        return
    full = (Status.RESERVATION_REFUSED, Status.RESOURCE_LIMIT_EXCEEDED)
    if answer.status in full:
        raise RemoteFault(
            RemoteCode.BUSY, f"relay {relay} does all that it may", "try again later", wait=30
        )
    raise RemoteFault(
        RemoteCode.UNREACHABLE, f"relay {relay} has no way to that peer", "ask another peer"
    )


def _peer_untrusted(raw: bytes) -> PeerId | None:
    peer = PeerId(ID(raw[:64]).to_base58())
    try:
        peer_public_key(peer)
    except ValueError:
        return None
    return peer


async def _refuse(stream: SharedStream, status: Status) -> None:
    await tell(stream, encode_hop(Message(HOP_STATUS, status=status)))


async def _answer(stream: SharedStream, status: Status) -> None:
    await tell(stream, encode_stop(Message(STOP_STATUS, status=status)))
