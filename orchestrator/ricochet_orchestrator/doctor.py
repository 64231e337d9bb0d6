"""Looks at what a subscriber needs: settings that can be used, a paid period, a session, models.

It spends nothing and asks for no passphrase. The network is joined, as `ricochet peers list` does,
only where a paid period says that calls can be made; models of roles are held against it.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ricochet_orchestrator import privacy, role_models, routing
from ricochet_orchestrator.tasks import task_file
from ricochet_protocol.errors import RicochetError
from ricochet_protocol.findings import Finding, failure, kept
from ricochet_protocol.money import Units, dollars
from ricochet_protocol.signing import account_address
from ricochet_settlement import hot_key
from ricochet_settlement.examining import Basis

if TYPE_CHECKING:
    from ricochet_orchestrator.model_choice import ModelChoice
    from ricochet_settlement.standing import Standing

SOON: Final = 3 * 86400
"""Seconds before its end from which a period can be renewed."""
LITTLE: Final = 20
"""A budget of which less than one part in so many is left is about to stop runs."""
NETWORK_SECONDS: Final = 30.0
_SESSION: Final = "session.key"


async def examine_subscriber(
    home: Path, project: Path, basis: Basis, *, owner: bool, online: bool
) -> tuple[Finding, ...]:
    """All findings; `owner`: the home is a key owner's too, who needs no subscription."""
    found: list[Finding] = []
    layers = kept(found, "models", lambda: role_models.layers(home, project), _models_text)
    kept(
        found,
        "routing",
        lambda: routing.load(routing.files(home, project), routing.NO_FLAGS),
        lambda settings: f"the strategy is {settings.strategy}",
    )
    kept(
        found,
        "privacy",
        lambda: privacy.load(home, project),
        lambda settings: ", ".join(settings.redact) or "nothing is redacted",
    )
    kept(found, "tasks", lambda: task_file.load(project), lambda _: "the tasks can be read")
    if basis.deployment is None or basis.account is None or not basis.reached:
        return tuple(found)
    from ricochet_settlement.standing import standing

    try:
        stands = await standing(basis.deployment, basis.account)
    except RicochetError as error:
        return (*found, failure("subscription", error))
    found.append(subscription_finding(stands, owner))
    if not stands.running:
        return tuple(found)
    found.append(_session(home, stands))
    if online and layers is not None:
        found += await _on_network(home, role_models.by_role(layers))
    return tuple(found)


def subscription_finding(stands: "Standing", owner: bool) -> Finding:
    """What is to be said of the paid period."""
    about, period = "subscription", stands.subscription
    if period is None or not stands.running:
        text = "none was paid" if period is None else f"period {period.period} has ended"
        if owner:
            return Finding(about, "ok", f"{text}; a key owner needs none")
        return Finding(about, "warn", text, "`ricochet subscribe --plan 10`")
    left = Units(period.budget - period.committed)
    days = (period.end - stands.now) // 86400
    text = f"period {period.period}: {dollars(left)} not yet committed, {days} days left"
    if left * LITTLE < period.budget:
        return Finding(about, "warn", text, "`ricochet subscription top-up 5` adds to it")
    if period.end - stands.now < SOON and not stands.auto_renew:
        return Finding(about, "warn", text, "`ricochet subscription auto-renew` goes on with it")
    return Finding(about, "ok", text)


def _session(home: Path, stands: "Standing") -> Finding:
    assert stands.subscription is not None
    mend = "`ricochet subscription rotate-session`, or use the home folder that subscribed"
    if not (home / _SESSION).exists():
        return Finding("session", "fail", "this home has no session key", mend)
    try:
        mine = account_address(hot_key.load_or_create(home / _SESSION))
    except RicochetError as error:
        return failure("session", error)
    if mine not in (stands.subscription.delegate, stands.subscription.subscriber):
        text = f"the subscription names another session key than this home's ({mine})"
        return Finding("session", "fail", text, mend)
    return Finding("session", "ok", f"{mine} signs for the subscription")


async def _on_network(home: Path, wanted: dict[str, str]) -> list[Finding]:
    from ricochet_orchestrator import model_choice

    try:
        async with asyncio.timeout(NETWORK_SECONDS):
            offered = await model_choice.on_network(home)
    except RicochetError as error:
        return [failure("peers", error)]
    except TimeoutError:
        text = f"the network did not answer within {NETWORK_SECONDS:.0f} s"
        return [Finding("peers", "fail", text, "check `bootstrap` in network.json")]
    return offer_findings(offered, wanted)


def offer_findings(offered: "tuple[ModelChoice, ...]", wanted: dict[str, str]) -> list[Finding]:
    """What is to be said of models on offer, and of roles whose model is not among them."""
    if not offered:
        return [
            Finding("peers", "warn", "nobody offers a model now", "see `ricochet network status`")
        ]
    names = {str(one.model) for one in offered}
    found = [Finding("peers", "ok", f"models on offer: {len(names)}")]
    gone = sorted(f"{role}={model}" for role, model in wanted.items() if model not in names)
    if gone:
        text = f"nobody offers now: {', '.join(gone)}"
        found.append(Finding("roles", "warn", text, "`ricochet models setup` chooses others"))
    return found


def _models_text(layers: "tuple[role_models.Layer, ...]") -> str:
    named = role_models.by_role(layers)
    return ", ".join(f"{role}={model}" for role, model in named.items()) or "none is set by role"
