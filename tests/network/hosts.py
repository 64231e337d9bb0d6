"""Hosts in network namespaces, and the wire between them, which tests can bend.

Every host is a process with one interface; what it sends arrives here as IP packets. `Wire` passes
them on after a delay, loses some, keeps groups of hosts apart, and translates addresses of hosts
behind a router. It does what `tc netem` and a firewall would do, but on any kernel that has
namespaces, with draws that a seed decides; no packet of it ever leaves this process.
"""

import asyncio
import json
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

PATIENCE = 30.0
_TCP = 6
_PACKET = 2048


class Unable(Exception):
    """This machine allows no hosts; says why."""


class Router:
    """A home router: one outside address, ports of its own, and an answer only to who was asked."""

    def __init__(self, inside: str, outside: str) -> None:
        self.inside = inside
        self.outside = outside
        self._ports: dict[int, int] = {}
        self._asked: set[tuple[int, bytes]] = set()
        self.turned_away = 0
        """Packets of strangers."""

    def out(self, packet: bytes) -> bytes | None:
        """A packet as the world sees it."""
        if packet[9] != _TCP:
            return None
        at = _header(packet)
        (port,) = struct.unpack_from("!H", packet, at)
        mapped = self._ports.setdefault(port, 40_000 + len(self._ports))
        self._asked.add((mapped, packet[16:20] + packet[at + 2 : at + 4]))
        changed = bytearray(packet)
        changed[12:16] = socket.inet_aton(self.outside)
        struct.pack_into("!H", changed, at, mapped)
        return _summed(changed)

    def back(self, packet: bytes) -> bytes | None:
        """A packet as the host gets it; None for what nobody inside has asked for."""
        if packet[9] != _TCP:
            return None
        at = _header(packet)
        (mapped,) = struct.unpack_from("!H", packet, at + 2)
        if (mapped, packet[12:16] + packet[at : at + 2]) not in self._asked:
            self.turned_away += 1
            return None
        port = next(one for one, other in self._ports.items() if other == mapped)
        changed = bytearray(packet)
        changed[16:20] = socket.inet_aton(self.inside)
        struct.pack_into("!H", changed, at + 2, port)
        return _summed(changed)


class Wire:
    """Everything between the hosts; `delay` in seconds each way, `loss` a share of the packets."""

    def __init__(self, delay: float, loss: float, rng: Random) -> None:
        self.delay = delay
        self.loss = loss
        self._rng = rng
        self._ends: dict[str, int] = {}
        self._routers: dict[str, Router] = {}
        self._apart: tuple[frozenset[str], ...] = ()
        self.passed = 0
        self.lost = 0

    def plug(self, address: str, end: int, router: Router | None = None) -> None:
        """Connect a host; what is sent to `address` goes to it."""
        self._ends[address] = end
        if router is not None:
            self._routers[address] = router
        asyncio.get_running_loop().add_reader(end, self._read, address)

    def unplug(self, address: str) -> None:
        """Disconnect a host."""
        end = self._ends.pop(address)
        asyncio.get_running_loop().remove_reader(end)
        os.close(end)

    def split(self, *groups: Iterable[str]) -> None:
        """Let packets pass within each group only."""
        self._apart = tuple(frozenset(group) for group in groups)

    def heal(self) -> None:
        """Let all pass again."""
        self._apart = ()

    def _read(self, source: str) -> None:
        try:
            packet: bytes | None = os.read(self._ends[source], _PACKET)
        except BlockingIOError:
            return
        if not packet or packet[0] >> 4 != 4:
            return  # IPv6 looks for neighbours that are not there
        if router := self._routers.get(source):
            packet = router.out(packet)
        if packet is None:
            return
        target = socket.inet_ntoa(packet[16:20])
        together = any({source, target} <= group for group in self._apart)
        if target not in self._ends or (self._apart and not together):
            return
        if self._rng.random() < self.loss:
            self.lost += 1
            return
        asyncio.get_running_loop().call_later(self.delay, self._write, target, packet)

    def _write(self, target: str, packet: bytes | None) -> None:
        if packet is not None and (router := self._routers.get(target)):
            packet = router.back(packet)
        if packet is None or target not in self._ends:
            return
        self.passed += 1
        try:
            os.write(self._ends[target], packet)
        except BlockingIOError:  # a full queue drops, as anywhere
            self.lost += 1


class Host:
    """A running host; `peer` and `addresses` are its peer's."""

    def __init__(self, process: asyncio.subprocess.Process, hello: dict[str, Any]) -> None:
        self._process = process
        self.peer: str = hello["peer"]
        self.addresses: Sequence[str] = hello["addresses"]

    async def state(self) -> dict[str, Any]:
        """What its peer knows."""
        return await self._ask({})

    async def call(self, peer: str, text: str) -> dict[str, Any]:
        """Have its peer call another, which says everything again."""
        return await self._ask({"peer": peer, "text": text})

    async def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return await _line(self._process)


class Hosts:
    """Makes hosts on one wire."""

    def __init__(self, wire: Wire, stack: AsyncExitStack) -> None:
        self.wire = wire
        self._stack = stack

    async def start(
        self,
        seed: int,
        address: str,
        first: Collection[str] = (),
        *,
        relay: bool = False,
        offers: bool = True,
        router: Router | None = None,
    ) -> Host:
        """A host at an address, which is its router's if it is behind one; Unable."""
        own = address if router is None else router.inside
        settings = {
            "seed": seed, "address": own, "first": list(first), "relay": relay, "offers": offers,
        }  # fmt: skip
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with here, there:
            program = str(Path(__file__).with_name("host_process.py"))
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "ignore", program, json.dumps(settings)),
                str(there.fileno()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=[there.fileno()],
            )
            self._stack.push_async_callback(_end, process)
            there.close()
            here.setblocking(False)
            readable = asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.add_reader(here, readable.set)
            try:
                async with asyncio.timeout(PATIENCE):
                    await readable.wait()
            finally:
                loop.remove_reader(here)
            _, ends, _, _ = socket.recv_fds(here, 1, 1)
        if ends:
            os.set_blocking(ends[0], False)
            self.wire.plug(address, ends[0], router)
            self._stack.callback(self.wire.unplug, address)
        hello = await _line(process)
        if "unable" in hello:
            raise Unable(hello["unable"])
        return Host(process, hello)


@asynccontextmanager
async def hosts(*, delay: float, loss: float, seed: int = 0) -> AsyncIterator[Hosts]:
    """No hosts yet, and a wire for them."""
    async with AsyncExitStack() as stack:
        yield Hosts(Wire(delay, loss, Random(seed)), stack)


async def _line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(2 * PATIENCE):
        line = await process.stdout.readline()
    assert line, "the host has ended"
    said: dict[str, Any] = json.loads(line)
    return said


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def _header(packet: bytes | bytearray) -> int:
    """Bytes before those of TCP."""
    return (packet[0] & 15) * 4


def _summed(packet: bytearray) -> bytes:
    """The packet with its checksums as they must be."""
    at = _header(packet)
    packet[10:12] = bytes(2)
    struct.pack_into("!H", packet, 10, _checksum(packet[:at]))
    segment = packet[at:]
    segment[16:18] = bytes(2)
    pseudo = packet[12:20] + struct.pack("!BBH", 0, _TCP, len(segment))
    struct.pack_into("!H", packet, at + 16, _checksum(pseudo + segment))
    return bytes(packet)


def _checksum(data: bytes | bytearray) -> int:
    """Of RFC 1071."""
    even = bytes(data) + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(even) // 2}H", even))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
