"""What a provider's answer says it used, read as it passes, in all three dialects.

A stream is read line by line and a whole answer at its end; what does not fit a bounded buffer, or
does not parse, is no usage: then the worst case stands, so a provider that garbles its report
cannot make a call cheaper. Nothing here changes what the caller gets.
"""

from typing import Annotated, Final

import msgspec

from ricochet_node.providers import Dialect

MAX_KEPT: Final = 4 * 1024 * 1024
"""Of a whole answer, or of one line of a stream; both are far smaller from honest providers."""
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**32)]


class _Usage(msgspec.Struct, frozen=True):
    """OpenAI's names and Anthropic's; the latter counts cached input beside the rest."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None


class _Begun(msgspec.Struct, frozen=True):
    usage: _Usage | None = None


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """Google's; what was thought is billed as output."""

    prompt_token_count: _Count | None = None
    candidates_token_count: _Count = 0
    thoughts_token_count: _Count = 0
    tool_use_prompt_token_count: _Count = 0


class _Piece(msgspec.Struct, frozen=True):
    """An event of a stream, or a whole answer."""

    type: str = ""
    usage: _Usage | None = None
    message: _Begun | msgspec.UnsetType = msgspec.UNSET
    usageMetadata: _Metadata | None = None  # noqa: N815 - Google's spelling


_decode = msgspec.json.Decoder(_Piece).decode


class UsageReader:
    """Fed with an answer's bytes; `tokens` at the end."""

    def __init__(self, dialect: Dialect, *, streamed: bool) -> None:
        self._dialect = dialect
        self._streamed = streamed
        self._kept = bytearray()
        self._lost = False
        self._tokens_in: int | None = None
        self._tokens_out: int | None = None

    def feed_untrusted(self, data: bytes) -> None:
        """Take note of what passes."""
        end = data.rfind(b"\n") + 1 if self._streamed else 0
        if end:
            # Most is text, and the word costs less to look for than lines cost to take apart.
            whole = bytes(self._kept) + data[:end]
            self._kept.clear()
            if b'"usage' in whole:
                for line in whole.split(b"\n"):
                    self._line(line)
        self._kept += data[end:]
        if len(self._kept) > MAX_KEPT:
            self._kept.clear()
            self._lost = True

    def tokens(self) -> tuple[int, int] | None:
        """Tokens in and out of an answer that came to its end; None without a full report."""
        if self._streamed:
            self._line(bytes(self._kept))
        elif not self._lost:
            self._piece(bytes(self._kept))
        self._kept.clear()
        if self._lost or self._tokens_in is None or self._tokens_out is None:
            return None
        return self._tokens_in, self._tokens_out

    def _line(self, line: bytes) -> None:
        if line.startswith(b"data:") and b'"usage' in line:
            self._piece(line.removeprefix(b"data:").strip())

    def _piece(self, text: bytes) -> None:
        try:
            piece = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        match self._dialect:
            case Dialect.OPENAI:
                self._openai(piece.usage)
            case Dialect.ANTHROPIC:
                self._anthropic(piece)
            case Dialect.GOOGLE:
                self._google(piece.usageMetadata)

    def _openai(self, usage: _Usage | None) -> None:
        if usage and usage.prompt_tokens is not None and usage.completion_tokens is not None:
            self._tokens_in, self._tokens_out = usage.prompt_tokens, usage.completion_tokens

    def _anthropic(self, piece: _Piece) -> None:
        """A stream tells the input when it begins, and the output when it is complete."""
        begun = piece.message
        if isinstance(begun, _Begun):
            self._anthropic_input(begun.usage)
        self._anthropic_input(piece.usage)
        if piece.usage is not None and piece.usage.output_tokens is not None:
            self._tokens_out = piece.usage.output_tokens

    def _anthropic_input(self, usage: _Usage | None) -> None:
        if usage is not None and usage.input_tokens is not None:
            cached = (usage.cache_creation_input_tokens, usage.cache_read_input_tokens)
            self._tokens_in = usage.input_tokens + sum(count or 0 for count in cached)

    def _google(self, told: _Metadata | None) -> None:
        if told is not None and told.prompt_token_count is not None:
            self._tokens_in = told.prompt_token_count + told.tool_use_prompt_token_count
            self._tokens_out = told.candidates_token_count + told.thoughts_token_count
