"""How an estimate is shown, and the same as JSON."""

from ricochet_cli.console import table
from ricochet_cli.language import t, tn
from ricochet_cli.progress_view import short
from ricochet_orchestrator.estimate import Estimate
from ricochet_protocol.money import Units, dollars


def estimate_document(found: Estimate) -> dict[str, object]:
    """What `chain run --dry-run --json` prints; amounts in units, prices per million tokens."""
    return {
        "segments": found.segments,
        "calls": found.calls,
        "stored": found.stored,
        "tokens_in": found.tokens_in,
        "tokens_out": found.tokens_out,
        "cost": {"low": found.cost_low, "likely": found.cost, "high": found.cost_high},
        "seconds": round(found.seconds, 1),
        "seconds_guessed": not found.timed,
        "models": [
            {
                "model": use.model,
                "window": use.window,
                "calls": use.calls,
                "peers": [
                    {
                        "peer": one.peer,
                        "operator": one.advert.advert.operator,
                        "price_in": one.offer.price_in,
                        "price_out": one.offer.price_out,
                        "at_once": one.limit,
                    }
                    for one in use.peers
                ],
            }
            for use in found.models
        ],
        "not_known": list(found.open_steps),
    }


def estimate_text(found: Estimate) -> str:
    """The same for a person."""
    guess = "" if found.timed else t(", guessed: such calls were not timed yet")
    lines = [
        t("Segments: {count}", count=found.segments),
        t("Calls:    {count}", count=found.calls)
        + (
            tn(", {count} answer stored", ", {count} answers stored", found.stored)
            if found.stored
            else ""
        ),
        t(
            "Tokens:   {tokens_in:,} in / {tokens_out:,} out",
            tokens_in=found.tokens_in,
            tokens_out=found.tokens_out,
        ),
        t(
            "Cost:     {cost}, from {low} to {high}",
            cost=dollars(found.cost),
            low=dollars(found.cost_low),
            high=dollars(found.cost_high),
        ),
        t("Time:     {seconds:.0f} s{guess}", seconds=found.seconds, guess=guess),
    ]
    if found.open_steps:
        names = ", ".join(found.open_steps)
        lines.append(
            t(
                "Not told: {names}: how many calls, their answers decide; they come on top",
                names=names,
            )
        )
    rows = [
        (
            use.model,
            f"{use.window:,}",
            f"{use.calls:,}",
            short(one.peer),
            dollars(Units(one.offer.price_in)),
            dollars(Units(one.offer.price_out)),
            f"{one.limit}",
        )
        for use in found.models
        for one in use.peers
    ]
    headers = ("model", "window", "calls", "peer", "in / million", "out / million", "at once")
    return "\n".join([*lines, "", table(headers, rows)])
