"""Calls of OpenAI-compatible providers: through the vault, or straight to one that needs no key."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import closing
from types import TracebackType
from typing import Final

from ricochet_node import sse, upstream
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
from ricochet_node.http_client import (
    STREAM,
    Answer,
    BrokenAnswer,
    HttpClient,
    Patience,
    Unreachable,
)
from ricochet_node.upstream import Ending, Piece, Whole
from ricochet_node.vault import MAX_REQUEST, REFUSAL
from ricochet_node.vault_link import VaultLink
from ricochet_protocol.messages import Ask, CallPiece, Chunk

_REFUSAL: Final = REFUSAL.lower()
MAX_ANSWER: Final = 32 * 1024 * 1024
"""Bytes; the vault lets no more through either."""
_PATH: Final = "/chat/completions"
_ERROR_SECONDS: Final = 10
"""For the body of an error: what it says is a nicety."""


_OPEN_HEADERS: Final = {
    "Accept": "text/event-stream, application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": "ricochet",
}


def _none(_: str) -> str:
    return ""


class DirectUpstream:
    """Calls through one vault; `client` and `vault` are closed by their owners.

    `straight` gives the origin of a key that is called without the vault, "" for all others.
    """

    def __init__(
        self,
        client: HttpClient,
        vault: VaultLink,
        straight: Callable[[str], str] = _none,
    ) -> None:
        self._client = client
        self._straight = straight
        self._vault = vault

    async def stream(self, key_id: str, model: str, ask: Ask) -> AsyncGenerator[Piece, None]:
        """As in the port."""
        ending = Ending()
        body = chat_body(model, ask)
        straight = self._straight(key_id)
        with _Blamed(straight, ending):
            with closing(await self._post(straight, key_id, body)) as answer:
                await (_check_provider if straight else _check_vault)(answer)
                if answer.content_type != STREAM:
                    raise broken("something that is no event stream")
                decoder, received = sse.EventDecoder(), 0
                while data := await answer.read():
                    received = _bounded(received + len(data))
                    for piece in _said(decoder.feed_untrusted(data), ending):
                        yield piece
            yield ending.usage()

    async def whole(self, key_id: str, model: str, ask: Ask) -> Whole:
        """As in the port."""
        ending = Ending()
        body = chat_body(model, ask, whole=True)
        straight = self._straight(key_id)
        with _Blamed(straight, ending):
            with closing(await self._post(straight, key_id, body)) as answer:
                await (_check_provider if straight else _check_vault)(answer)
                if answer.content_type != "application/json":
                    raise broken("something that is no JSON")
                parts, received = [], 0
                while data := await answer.read():
                    received = _bounded(received + len(data))
                    parts.append(data)
            piece = sse.completion_untrusted(b"".join(parts))
            return Whole(tuple(_said((piece,), ending)), ending.usage())

    async def _post(self, straight: str, key_id: str, body: bytes) -> Answer:
        patience = Patience(upstream.FIRST_BYTE_SECONDS, upstream.IDLE_SECONDS)
        if not straight:
            if len(body) > MAX_REQUEST:
                raise fault_of_refusal("too_large")
            return await self._vault.send(f"/{key_id}{_PATH}", body, patience)
        return await self._client.send("POST", straight, _PATH, _OPEN_HEADERS, body, patience)


class _Blamed:
    """Turns what the client says into a fault of the provider, with what `ending` knows by then."""

    def __init__(self, straight: str, ending: Ending) -> None:
        self._straight = straight
        self._ending = ending

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        match error:
            case None:
                return
            case ProviderFault():
                self._ending.tell(error)
                return
            case TimeoutError():
                fault = ProviderFault(Reason.SILENT)
            case Unreachable() if self._straight:
                fault = fault_of_refusal("unreachable")
            case Unreachable():
                fault = ProviderFault(Reason.FAILED, "(no vault)", unbilled=True)
            case BrokenAnswer():
                fault = broken("an answer that breaks off")
            case _:
                return
        self._ending.tell(fault)
        raise fault from None


def _said(pieces: Iterable[sse.Piece], ending: Ending) -> Iterator[Chunk | CallPiece]:
    """What the events say, in order; text that came together goes on together.

    A piece costs more on its way than its words do.
    """
    text = ""
    for piece in pieces:
        text += piece.text
        for call in piece.calls:
            if text:
                yield Chunk(text=text)
                text = ""
            yield ending.call(call)
        ending.finish = piece.finish or ending.finish
        ending.tokens = piece.tokens or ending.tokens
    if text:
        yield Chunk(text=text)


def _bounded(received: int) -> int:
    if received > MAX_ANSWER:
        raise broken("an answer without end")
    return received


async def _check_vault(answer: Answer) -> None:
    """ProviderFault unless vault and provider took the call."""
    if refusal := answer.headers.get(_REFUSAL):
        raise fault_of_refusal(refusal, seconds_of(answer.headers.get("retry-after")))
    await _check_status(answer)


async def _check_provider(answer: Answer) -> None:
    """ProviderFault unless the provider took the call: what the vault refuses is refused here."""
    if 300 <= answer.status < 400:
        raise fault_of_refusal("redirect")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise fault_of_refusal("encoding")
    await _check_status(answer)


async def _check_status(answer: Answer) -> None:
    if answer.status != 200:
        wait = seconds_of(answer.headers.get("retry-after"))
        raise fault_of_status(answer.status, await _error(answer), wait)


async def _error(answer: Answer) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(_ERROR_SECONDS):
            while len(body) < MAX_ERROR and (data := await answer.read()):
                body += data
    except (TimeoutError, BrokenAnswer):
        pass  # what has come says enough
    return body
