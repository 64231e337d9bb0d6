"""Tells whoever asked for it that a run has ended, or why it stopped.

A notice holds ids, names, counts and amounts, never text of a document, prompt or answer. A run
that was paused on purpose tells nothing: whoever did that knows.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ricochet_network.notices import post_notice, show_notice, webhook_problem
from ricochet_orchestrator.progress import Event, NoticeUndelivered, printable
from ricochet_orchestrator.result import RunState
from ricochet_protocol.errors import UsageError
from ricochet_protocol.money import Units, dollars

DESKTOP: Final = "desktop"
_WEBHOOK: Final = "webhook="


class Notice(msgspec.Struct, frozen=True, tag_field="event", tag="run_ended"):
    """What a webhook gets. `error` is the code of what stopped the run, with its message."""

    run: str
    status: str
    chain: str
    document: str
    done: int
    steps: int
    calls: int
    cost: Units
    seconds: float
    error: str

    def line(self) -> str:
        """For a person."""
        why = f": {self.error}" if self.error else ""
        return (
            f"{self.chain} over {self.document} {self.status}{why} "
            f"({self.done}/{self.steps} steps, {dollars(self.cost)}, {self.seconds:.0f} s)"
        )


class Undelivered(msgspec.Struct, frozen=True):
    """A notice that did not get there."""

    channel: str
    reason: str


def check_channels(channels: Sequence[str]) -> tuple[str, ...]:
    """`desktop` and `webhook=URL`, as given; UsageError for anything else."""
    for channel in channels:
        if channel == DESKTOP:
            continue
        problem = webhook_problem(channel.removeprefix(_WEBHOOK))
        if not channel.startswith(_WEBHOOK) or problem:
            raise UsageError(
                "bad_notify",
                f"No notice can go to {printable(channel)!r}"
                + (f": {problem}." if problem else "."),
                "Use --notify desktop or --notify webhook=https://HOST/PATH.",
            )
    return tuple(channels)


def notice_of(state: RunState) -> Notice:
    """The notice for a run as it stands."""
    run, result = state.run, state.result
    return Notice(
        run=run.id,
        status=run.status.value,
        chain=run.chain,
        document=printable(run.document),
        done=state.done,
        steps=len(state.steps),
        calls=result.calls,
        cost=result.cost,
        seconds=round(run.seconds, 3),
        error=run.error,
    )


async def send(channels: Sequence[str], notice: Notice) -> tuple[Undelivered, ...]:
    """Send to every channel; what did not get there, and why. Raises nothing."""
    failed = []
    for channel in channels:
        if channel == DESKTOP:
            reason = await show_notice(notice.line())
        else:
            reason = await _post(channel.removeprefix(_WEBHOOK), notice)
        if reason:
            failed.append(Undelivered(channel.partition("=")[0], reason))
    return tuple(failed)


async def notify(
    channels: Sequence[str], state: Callable[[], RunState], tell: Callable[[Event], None]
) -> None:
    """Send the notice of a run as it stands to those who asked for it; raises nothing."""
    if channels:
        for one in await send(channels, notice_of(state())):
            tell(NoticeUndelivered(channel=one.channel, reason=one.reason))


async def _post(url: str, notice: Notice) -> str:
    import aiohttp

    async with aiohttp.ClientSession() as client:
        return await post_notice(client, url, msgspec.json.encode(notice))
