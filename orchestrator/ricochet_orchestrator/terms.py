"""What must hold before the first call: a subscription this home may spend, and models on offer."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.offers import OFFER_WAIT, Offers, no_peer
from ricochet_orchestrator.progress import OffersAwaited
from ricochet_orchestrator.setting import Setting
from ricochet_protocol.errors import BudgetError, ConfigurationError, ExitCode, RicochetError
from ricochet_protocol.ids import ModelId
from ricochet_protocol.ports import Subscription
from ricochet_protocol.signing import account_address

LOOK: Final = 0.1
"""Seconds between looks at the directory."""
KNOWN_WAIT: Final = 3.0
"""Seconds to wait for a model once nodes are known: a directory is whole soon after joining."""
SILENT: Final = 1.0
"""Seconds of such a wait after which it is told."""


class Interrupted(RicochetError):
    """The run was stopped before it had a plan; nothing was asked and nothing spent."""

    exit_code = ExitCode.INTERRUPTED


async def paid_period(setting: Setting) -> Subscription:
    """The running period; BudgetError without one, ConfigurationError for a key it disowns."""
    payer = setting.payer
    found = await setting.settlement.subscription(payer.subscriber)
    if found is None or found.end <= setting.clock():
        ended = "has no subscription" if found is None else "has a subscription that has ended"
        raise BudgetError(
            "no_subscription",
            f"The account {payer.subscriber} {ended}.",
            "Subscribe with `ricochet subscribe`; finished steps are kept.",
        )
    signer = account_address(payer.key)
    if signer not in (found.delegate, found.subscriber):
        raise ConfigurationError(
            "not_delegate",
            f"The session key of this home ({signer}) may not sign for "
            f"{payer.subscriber}: the subscription names {found.delegate}.",
            "Use the home folder that subscribed, or appoint this one: "
            "`ricochet subscription rotate-session`, which also ends one that was cut off.",
        )
    return found


async def models_on_offer(
    offers: Offers,
    chain: Chain,
    model: ModelId | None,
    stop: asyncio.Event,
    tell: Callable[[OffersAwaited], None],
    fallback: ModelId | None = None,
) -> tuple[ModelId, dict[ModelId, int]]:
    """The model for steps that name none (unless told: what most peers offer), and all windows.

    Waits, bounded, for offers, and tells of a wait that is not short. A model that is not among
    them has no window then: `fallback` is among them and stands in for it (`with_fallback`), or
    LocalFault `no_peer` is raised.
    """
    loop = asyncio.get_running_loop()
    start, told = loop.time(), False
    while True:
        await offers.refresh()
        offered = offers.models()
        default = model or (offered[0] if offered else None)
        needed = {step.model or default for step in chain.steps}
        windows = {one: offers.window(one) for one in needed if one is not None}
        found = {one: window for one, window in windows.items() if window is not None}
        if default is not None and len(found) == len(needed):
            return default, found
        missing = sorted(set(windows) - set(found))
        patience = KNOWN_WAIT if offers.found else OFFER_WAIT
        if loop.time() >= start + patience:
            window = None if fallback is None else offers.window(fallback)
            if fallback is not None and window is not None and default in found.keys() | {fallback}:
                return default, found | {fallback: window}
            raise offers.unreachable or no_peer(missing[0] if missing else None, offers)
        if loop.time() >= start + SILENT and not told:
            told = True
            tell(OffersAwaited(missing[0] if missing else None, start + patience - loop.time()))
        if await _is_set(stop, LOOK):
            raise Interrupted(
                "interrupted", "Stopped before the first call.", "Run the same command again."
            )


def with_fallback(chain: Chain, windows: Mapping[ModelId, int], fallback: ModelId | None) -> Chain:
    """The chain with `fallback` in the steps whose model has no window."""
    if fallback is None:
        return chain
    steps = (
        msgspec.structs.replace(step, model=fallback)
        if step.model is not None and step.model not in windows
        else step
        for step in chain.steps
    )
    return msgspec.structs.replace(chain, steps=tuple(steps))


async def _is_set(event: asyncio.Event, patience: float) -> bool:
    """Whether the event is set, within `patience` seconds."""
    try:
        async with asyncio.timeout(patience):
            return await event.wait()
    except TimeoutError:
        return False
