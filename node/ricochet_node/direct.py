"""Calls of OpenAI-compatible providers through the vault: one request each, streamed through."""

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from ricochet_node import upstream
from ricochet_node.chat_body import chat_body
from ricochet_node.faults import (
    MAX_ERROR,
    ProviderFault,
    Reason,
    broken,
    fault_of_refusal,
    fault_of_status,
    seconds_of,
)
from ricochet_node.sse import EventDecoder
from ricochet_node.upstream import Ending, Piece
from ricochet_node.vault import REFUSAL
from ricochet_protocol.messages import Ask, Chunk

_ERROR_SECONDS: Final = 10
"""For the body of an error: what it says is a nicety."""


class DirectUpstream:
    """Calls through one vault; `client` is shared by all calls and closed by its owner."""

    def __init__(self, client: aiohttp.ClientSession, vault: str, token: str) -> None:
        self._client = client
        self._vault = vault
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    async def stream(self, key_id: str, model: str, ask: Ask) -> AsyncGenerator[Piece, None]:
        """As in the port."""
        decoder, ending = EventDecoder(), Ending()
        with ending.kept():
            async with self._post(key_id, model, ask) as response:
                async for data in _reads(response):
                    for piece in decoder.feed_untrusted(data):
                        if piece.text:
                            yield Chunk(text=piece.text)
                        for call in piece.calls:
                            yield ending.call(call)
                        ending.finish = piece.finish or ending.finish
                        ending.tokens = piece.tokens or ending.tokens
            yield ending.usage()

    @asynccontextmanager
    async def _post(
        self, key_id: str, model: str, ask: Ask
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._client.post(
                f"{self._vault}/{key_id}/chat/completions",
                data=io.BytesIO(chat_body(model, ask)),
                headers=self._headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_read=upstream.FIRST_BYTE_SECONDS),
            ) as response:
                await _check(response)
                yield response
        except TimeoutError:
            raise ProviderFault(Reason.SILENT) from None
        except aiohttp.ClientConnectorError:
            raise ProviderFault(Reason.FAILED, "(no vault)", unbilled=True) from None
        except (aiohttp.ClientError, OSError):
            raise broken("an answer that breaks off") from None


async def _reads(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The bytes as they come; TimeoutError when they stop coming."""
    patience = upstream.FIRST_BYTE_SECONDS
    while True:
        async with asyncio.timeout(patience):
            data = await response.content.readany()
        if not data:
            return
        yield data
        patience = upstream.IDLE_SECONDS


async def _check(response: aiohttp.ClientResponse) -> None:
    """ProviderFault unless the response is an event stream."""
    wait = seconds_of(response.headers.get("Retry-After"))
    if refusal := response.headers.get(REFUSAL):
        raise fault_of_refusal(refusal, wait)
    if response.status != 200:
        raise fault_of_status(response.status, await _error(response), wait)
    if response.content_type != "text/event-stream":
        raise broken("something that is no event stream")


async def _error(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(_ERROR_SECONDS):
            while len(body) < MAX_ERROR and (data := await response.content.readany()):
                body += data
    except (TimeoutError, aiohttp.ClientError):
        pass  # what has come says enough
    return bytes(body)
