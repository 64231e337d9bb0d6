"""A host of its own: a process in a network namespace with one interface, on which a peer runs.

Its arguments are a JSON object: `seed`, `address`, `first` (multiaddrs), `relay` and `offers`
(whether it advertises), and the number of a Unix socket, over which it hands the other end of its
interface to whoever plays the wire. It reads commands from stdin, a line each, and answers each
with a line; the first line it writes is its addresses, or why there can be no namespace.
"""

import asyncio
import ctypes
import fcntl
import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

INTERFACE = "wire"
_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000
_TUNSETIFF, _TUN, _NO_INFO = 0x400454CA, 0x1, 0x1000


class Unable(Exception):
    """Why this machine does not let us make a host."""


def isolate() -> None:
    """Go into a network namespace of our own, as root or as one's own root."""
    if shutil.which("ip") is None:
        raise Unable("there is no `ip` (iproute2)")
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEW_NETWORK) == 0:
        return
    if libc.unshare(_NEW_USER | _NEW_NETWORK) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise Unable(f"network namespaces are not allowed here: {reason}")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"0 {user} 1"),
        ("gid_map", f"0 {group} 1"),
    ):
        Path(f"/proc/self/{name}").write_text(text, encoding="ascii")


def plug_in(address: str, wire: socket.socket) -> None:
    """Make the interface, with everything beyond it on the wire."""
    try:
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH22x", INTERFACE.encode(), _TUN | _NO_INFO)
        fcntl.ioctl(end, _TUNSETIFF, request)
    except OSError as error:
        raise Unable(f"/dev/net/tun cannot be used: {error.strerror}") from None
    for line in (
        "link set lo up",
        f"addr add {address}/32 dev {INTERFACE}",
        f"link set {INTERFACE} mtu 1400 up",
        f"route add default dev {INTERFACE}",
    ):
        found = subprocess.run(["ip", *line.split()], capture_output=True, text=True, check=False)
        if found.returncode:
            raise Unable(f"`ip {line}`: {found.stderr.strip()}")
    socket.send_fds(wire, [b"!"], [end])
    os.close(end)


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


async def lines() -> AsyncIterator[dict[str, Any]]:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield json.loads(line)


async def main(settings: dict[str, Any]) -> None:
    # Only now: these take a second, and a machine without namespaces is told of before.
    from ricochet_network.libp2p_transport import Libp2pTransport
    from ricochet_network.peers import PeerNetwork
    from ricochet_network.relay_book import RelayLimits
    from ricochet_protocol.advert import Advert
    from ricochet_protocol.conversation import Turn
    from ricochet_protocol.errors import RemoteFault
    from ricochet_protocol.ids import Address, ModelId, NetworkId, PeerId, Period, RequestId
    from ricochet_protocol.messages import Ask, Chunk, Reply, Request

    network = NetworkId("hosts:1")
    seed = int(settings["seed"]).to_bytes(32, "big")

    async def echo(_: PeerId, request: Request) -> AsyncIterator[Reply]:
        assert isinstance(request, Ask)
        for word in request.turns[0].content.split():
            yield Chunk(word)

    transport = Libp2pTransport(
        seed,
        [f"/ip4/{settings['address']}/tcp/4001"],
        RelayLimits() if settings["relay"] else None,
    )
    peers = PeerNetwork(transport, seed, network, settings["first"], echo)

    async def advertise() -> None:
        for seq in itertools.count(time.time_ns()):
            advertised = peers.addresses
            await peers.publish(
                Advert(
                    peer=peers.peer,
                    addresses=advertised,
                    operator=Address("0x" + "0a" * 20),
                    network=network,
                    models=(),
                    region="",
                    version="1",
                    seq=seq,
                    issued_at=int(time.time()),
                    ttl=600,
                )
            )
            for _ in range(120):
                await asyncio.sleep(0.5)
                if peers.addresses != advertised:
                    break

    async def call(command: dict[str, Any]) -> dict[str, Any]:
        turns = (Turn("user", command["text"]),)
        ask = Ask(RequestId("0" * 32), Period(1), ModelId("m"), turns, 9, deadline=30)
        words = []
        try:
            async with asyncio.timeout(30), peers.call(PeerId(command["peer"]), ask) as replies:
                async for reply in replies:
                    assert isinstance(reply, Chunk)
                    words.append(reply.text)
        except RemoteFault as fault:
            return {"fault": fault.code}
        return {"text": " ".join(words)}

    def state() -> dict[str, Any]:
        contact = peers.contact()
        return {
            "known": sorted(one.advert.peer for one in peers.directory()),
            "links": {one.peer: one.relay for one in peers.links()},
            "relays": sorted(contact.relays),
            "reached": contact.reached,
            "seen_at": contact.seen_at,
            "addresses": peers.addresses,
        }

    await peers.start()
    advertising = asyncio.create_task(advertise()) if settings["offers"] else None
    say({"peer": peers.peer, "addresses": peers.addresses})
    async for command in lines():
        say(await call(command) if "peer" in command else state())
    if advertising is not None:
        advertising.cancel()
        with suppress(asyncio.CancelledError):
            await advertising
    await peers.stop()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    with socket.socket(fileno=int(sys.argv[2])) as wire:
        try:
            isolate()
            plug_in(given["address"], wire)
        except (Unable, OSError) as error:
            say({"unable": str(error)})
            sys.exit(0)
    asyncio.run(main(given))
