"""Another libp2p speaks to our transport: py-libp2p's own host, in a process of its own.

Our transport uses libp2p's protocols without its host (ADR 002); this shows that the difference
does not reach the wire.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence

from ricochet_network.libp2p_transport import Libp2pTransport
from ricochet_network.peers import PeerNetwork
from ricochet_protocol.ids import NetworkId, PeerId
from ricochet_protocol.ports import Connection

NETWORK = NetworkId("eip155:31337:0x" + "11" * 20)
SECONDS = 30

STRANGER = """
import json, sys, trio, multiaddr
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as noise_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import PROTOCOL_ID, Transport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX, Yamux
from ricochet_protocol import framing, messages, mux

async def main():
    pair = create_new_key_pair()
    host = new_host(
        key_pair=pair,
        sec_opt={PROTOCOL_ID: Transport(pair, noise_privkey=noise_pair().private_key)},
        muxer_opt={TProtocol(YAMUX): Yamux},
    )
    with trio.fail_after(20):
        async with host.run([multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/0")]):
            node = info_from_p2p_addr(multiaddr.Multiaddr(sys.argv[1]))
            await host.connect(node)
            stream = await host.new_stream(node.peer_id, [TProtocol("/ricochet/rpc/1")])
            request = mux.Data(id=1, body=messages.encode(messages.GetAdverts()))
            for frame in (mux.Ping(n=7), request):
                await stream.write(framing.encode_frame(mux.encode(frame)))
            decoder, seen = framing.FrameDecoder(), []
            while "End" not in seen:
                for payload in decoder.feed_untrusted(await stream.read(4096)):
                    seen.append(type(mux.decode_untrusted(payload)).__name__)
            print(json.dumps({"host": type(host).__name__, "seen": seen}), flush=True)

trio.run(main)
"""


RELAY = """
import sys, trio, multiaddr
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as noise_pair
from libp2p.custom_types import TProtocol
from libp2p.relay.circuit_v2.protocol import CircuitV2Protocol
from libp2p.security.noise.transport import PROTOCOL_ID, Transport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX, Yamux
from libp2p.tools.anyio_service.context import background_trio_service

async def hold(stream):
    while await stream.read(4096):
        pass

async def main():
    pair = create_new_key_pair()
    host = new_host(
        key_pair=pair,
        sec_opt={PROTOCOL_ID: Transport(pair, noise_privkey=noise_pair().private_key)},
        muxer_opt={TProtocol(YAMUX): Yamux},
    )
    async with host.run([multiaddr.Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        host.set_stream_handler(TProtocol("/ricochet/rpc/1"), hold)
        relay = CircuitV2Protocol(host, allow_hop=True)
        async with background_trio_service(relay):
            await relay.event_started.wait()
            print(host.get_addrs()[0], flush=True)
            await trio.to_thread.run_sync(sys.stdin.read)

trio.run(main)
"""


async def converse(addresses: Sequence[str]) -> dict[str, object]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-c", STRANGER, addresses[0]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    assert out, err.decode()
    said: dict[str, object] = json.loads(out)
    return said


def test_a_libp2p_host_is_answered() -> None:
    async def run() -> dict[str, object]:
        seed = bytes(range(32))
        peers = PeerNetwork(Libp2pTransport(seed), seed, NETWORK)
        await peers.start()
        try:
            return await converse(peers.addresses)
        finally:
            await peers.stop()

    said = asyncio.run(run())
    assert said["host"] == "BasicHost"
    seen = said["seen"]
    assert isinstance(seen, list) and "Pong" in seen and seen[-1] == "End"


def test_a_libp2p_host_relays_for_us() -> None:
    """Its relay and ours speak one protocol: two of our peers meet over it."""

    async def run() -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-c", RELAY),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        node, client = Libp2pTransport(b"\x01" * 32), Libp2pTransport(b"\x02" * 32)
        called: asyncio.Queue[Connection] = asyncio.Queue()

        async def accept(connection: Connection) -> None:
            called.put_nowait(connection)
            await asyncio.Event().wait()

        try:
            assert process.stdout is not None
            async with asyncio.timeout(SECONDS):
                address = (await process.stdout.readline()).decode().strip()
                relay = PeerId(address.rpartition("/p2p/")[2])
                for transport in (node, client):
                    await transport.start(accept)
                    await transport.dial([address], relay)
                assert await node.reserve(relay) > 60
                here = await client.dial_over(relay, node.peer)
                there = await called.get()
                assert (there.remote, there.relay) == (client.peer, relay)
                for sender, receiver in ((here, there), (there, here)):
                    await sender.send(b"over theirs")
                    assert await receiver.receive() == b"over theirs"
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await client.stop()
            await node.stop()

    asyncio.run(run())
