"""The owner's own calls, from his local door: free, and otherwise like anybody's.

    admit → slot → upstream through pool and vault → answer

Offers, slots, pool, vault and its limits, request log, metrics and content log are those of all
calls (`serve.py`). What exists because a subscriber pays is not here: no account, receipt or stored
answer, so nothing that has to be on disk before the end. What an answer used is the provider's
word, and counted here only where it gives none.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Final

import msgspec

from ricochet_node import admission
from ricochet_node.counting import count, most
from ricochet_node.faults import ProviderFault, broken
from ricochet_node.offer import Offer
from ricochet_node.offers import OfferBook
from ricochet_node.own_tally import OwnTally
from ricochet_node.pool import Pool
from ricochet_node.recording import Note, Records
from ricochet_node.upstream import Finish, Usage
from ricochet_protocol.answer import Answer, AnswerParts
from ricochet_protocol.chat_request import ChatRequest
from ricochet_protocol.conversation import texts_of_turns
from ricochet_protocol.errors import RemoteFault
from ricochet_protocol.messages import Ask, CallPiece, Chunk, check_supported

DEFAULT_TOKENS: Final = 4096
"""Of an answer whose client names no limit, as far as the model's window has room."""


class Ended(msgspec.Struct, frozen=True):
    """How an answer ended, and what it used."""

    finish: Finish
    tokens_in: int
    tokens_out: int


class OwnCalls:
    """Serves the owner; `clock` tells Unix seconds."""

    def __init__(
        self,
        book: OfferBook,
        pool: Pool,
        records: Records,
        tally: OwnTally,
        clock: Callable[[], float],
    ) -> None:
        self._book = book
        self._pool = pool
        self._records = records
        self._tally = tally
        self._clock = clock

    async def whole(self, ask: Ask) -> tuple[Answer, Ended]:
        """The answer when it is there; RemoteFault."""
        note, parts = Note(), AnswerParts(ask)
        with self._records.watch(ask, "", "local", note, self._clock()) as watch:
            offer = await self._admitted(ask, note)
            with self._book.slot(offer):
                whole = await self._pool.whole(offer, ask, _deadline(ask), note.tried)
            try:
                for piece in whole.pieces:
                    watch.hear(piece)
                    parts.add_untrusted(piece)
                answer = parts.whole_untrusted()
            except RemoteFault:
                raise _unasked() from None
            return answer, await self._ended(ask, answer, whole.usage, note)

    async def stream(self, ask: Ask) -> AsyncGenerator[Chunk | CallPiece | Ended, None]:
        """Its pieces as they come, then how it ended; RemoteFault. Closing it ends the call."""
        note, parts = Note(), AnswerParts(ask)
        with self._records.watch(ask, "", "local", note, self._clock()) as watch:
            offer = await self._admitted(ask, note)
            usage: Usage | None = None
            with self._book.slot(offer):
                stream = self._pool.stream(offer, ask, _deadline(ask), note.tried)
                async with aclosing(stream):
                    async for piece in stream:
                        if isinstance(piece, Usage):
                            usage = piece
                            continue
                        try:
                            parts.add_untrusted(piece)
                        except RemoteFault:
                            raise _unasked() from None
                        watch.hear(piece)
                        yield piece
            assert usage is not None  # a stream ends with it, or with a fault
            try:
                answer = parts.whole_untrusted()
            except RemoteFault:
                raise _unasked() from None
            yield await self._ended(ask, answer, usage, note)

    async def room(self, wanted: ChatRequest) -> int:
        """Tokens for an answer to a request that names no limit."""
        offer = self._book.offer(wanted.model)
        if offer is None:
            return DEFAULT_TOKENS
        context, texts = offer.shown.context, tuple(_texts(wanted))
        if most(texts) + DEFAULT_TOKENS <= context:
            return DEFAULT_TOKENS
        return max(1, min(DEFAULT_TOKENS, context - await count(texts)))

    async def _admitted(self, ask: Ask, note: Note) -> Offer:
        offer = self._book.find_own(ask.model)
        note.model = ask.model
        check_supported(ask, offer.shown)
        context = offer.shown.context
        if most(ask.texts()) + ask.max_tokens > context:
            admission.check_window(ask, context, await count(ask.texts()))
        return offer

    async def _ended(self, ask: Ask, answer: Answer, usage: Usage, note: Note) -> Ended:
        exact = usage.tokens is not None
        note.used = usage.tokens or (await count(ask.texts()), await count(answer.texts()))
        note.answered = (*note.used, exact)
        self._tally.add(ask.model, *note.used)
        return Ended(usage.finish, *note.used)


def _deadline(ask: Ask) -> float:
    return asyncio.get_running_loop().time() + ask.deadline


def _texts(wanted: ChatRequest) -> Iterable[str]:
    """Those of the ask it will become."""
    yield from texts_of_turns(wanted.turns)
    for tool in wanted.tools:
        yield from (tool.name, tool.description, tool.parameters)
    yield wanted.response_format.schema


def _unasked() -> ProviderFault:
    return broken("an answer that nobody asked for")
