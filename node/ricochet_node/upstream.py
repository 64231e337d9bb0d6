"""One streamed call of an OpenAI-compatible provider, through the vault.

Pieces of text and calls come first, then exactly one `Usage`: an answer without it did not end well
and is never billed. Errors are told in the asking peer's terms, without the provider's words, which
may quote the prompt or name the owner's account. A refused key is also `KeyRefused`, because the
owner has to act on it.
"""

import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Literal

import aiohttp
import msgspec

from ricochet_node.call_order import CallDelta, CallOrder, TooManyCalls
from ricochet_node.chat_body import chat_body
from ricochet_node.sse import EventDecoder, bad_stream
from ricochet_node.vault import REFUSAL
from ricochet_protocol.errors import RemoteCode, RemoteFault
from ricochet_protocol.messages import Ask, CallPiece, Chunk

FIRST_BYTE_SECONDS: Final = 300
"""A provider may think before its first token; a call's own deadline is usually shorter."""
_ERROR_BYTES: Final = 16 * 1024
_OVERFLOW: Final = (b"context_length_exceeded", b"exceed_context_size", b"context length")
"""OpenAI and its imitators; llama.cpp; vLLM's message."""
_REFUSED: Final = {
    "timeout": RemoteCode.TIMEOUT,
    # The owner's limits: this node has no room now, another may.
    **dict.fromkeys(("rate", "concurrency", "cap", "hours", "disabled"), RemoteCode.BUSY),
}

Finish = Literal["stop", "length", "tool_calls"]


class Usage(msgspec.Struct, frozen=True):
    """How an answer ended; `tokens` are the provider's own (in, out), None when it gave none."""

    finish: Finish
    tokens: tuple[int, int] | None


class KeyRefused(RemoteFault):
    """The provider refuses the owner's key: every further call would fail alike."""

    retryable = False


class Upstream:
    """Calls through one vault; `client` is shared by all calls and closed by its owner."""

    def __init__(self, client: aiohttp.ClientSession, vault: str, token: str) -> None:
        self._client = client
        self._vault = vault
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    async def stream(
        self, key_id: str, model: str, ask: Ask
    ) -> AsyncGenerator[Chunk | CallPiece | Usage, None]:
        """Pieces, then one Usage. Closing the iterator ends the provider's call.

        RemoteFault `busy`, `too_long`, `timeout` or `upstream`; KeyRefused for a refused key.
        """
        decoder, order = EventDecoder(), CallOrder()
        finish: str | None = None
        tokens: tuple[int, int] | None = None
        done = False
        async with self._post(key_id, model, ask) as response:
            async for data in response.content.iter_any():
                for piece in decoder.feed_untrusted(data):
                    if piece.text:
                        yield Chunk(text=piece.text)
                    for call in piece.calls:
                        yield _call_piece(order, call)
                    finish = piece.finish or finish
                    tokens = piece.tokens or tokens
                    done = done or piece.done
        if finish is None:
            raise bad_stream("an answer that breaks off" if not done else "no reason to finish")
        yield Usage(finish=_finish(finish), tokens=tokens)

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
                timeout=aiohttp.ClientTimeout(total=None, sock_read=FIRST_BYTE_SECONDS),
            ) as response:
                await _check(response)
                yield response
        except TimeoutError:
            raise RemoteFault(RemoteCode.TIMEOUT, "the provider went silent") from None
        except (aiohttp.ClientError, OSError):
            raise bad_stream("an answer that breaks off") from None


def _finish(reason: str) -> Finish:
    match reason:
        case "length" | "tool_calls":
            return reason
        case _:
            return "stop"


def _call_piece(order: CallOrder, delta: CallDelta) -> CallPiece:
    try:
        return order.piece(delta)
    except TooManyCalls:
        raise bad_stream("calls of functions that cannot be told apart") from None


async def _check(response: aiohttp.ClientResponse) -> None:
    """RemoteFault unless the response is an event stream."""
    if refusal := response.headers.get(REFUSAL):
        code = _REFUSED.get(refusal, RemoteCode.UPSTREAM)
        raise RemoteFault(code, f"the provider cannot be used now ({refusal})")
    match response.status:
        case 200:
            if response.content_type != "text/event-stream":
                raise bad_stream("something that is no event stream")
        case 401 | 403:
            raise KeyRefused(
                RemoteCode.UPSTREAM_AUTH, "the node's provider refuses its key; use another node"
            )
        case 429:
            raise RemoteFault(RemoteCode.BUSY, "the node's provider limits its rate; try later")
        case 400 | 413 if await _overflowed(response):
            raise RemoteFault(
                RemoteCode.TOO_LONG, "the prompt and max_tokens exceed the provider's context"
            )
        case status:
            raise RemoteFault(RemoteCode.UPSTREAM, f"the provider answered with status {status}")


async def _overflowed(response: aiohttp.ClientResponse) -> bool:
    text = (await response.content.read(_ERROR_BYTES)).lower()
    return any(sign in text for sign in _OVERFLOW)
