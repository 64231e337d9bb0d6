"""`ricochet route`: who would serve a call, and why the others would not."""

from typing import TYPE_CHECKING, Annotated

import typer

from ricochet_cli import routing_options as options
from ricochet_cli.console import print_json, table
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t, told
from ricochet_protocol.money import Units, dollars

if TYPE_CHECKING:
    from ricochet_orchestrator.peer_reports import RouteRow

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="How calls find their peer.")


@app.command("explain")
def explain(
    home: Home,
    model: Annotated[str, typer.Argument(help="A model on the network: ricochet peers list.")],
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of the prompt.")] = 1000,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of the answer.")] = 200,
    private_node: Annotated[
        list[str] | None, typer.Option(help="As for chain run; may be repeated.")
    ] = None,
    routing: options.Strategy = None,
    max_price_in: options.MaxPriceIn = None,
    max_price_out: options.MaxPriceOut = None,
    max_latency: options.MaxLatency = None,
    region: options.Regions = None,
    allow_peer: options.Allow = None,
    deny_peer: options.Deny = None,
    policy: options.Policies = None,
    as_json: AsJson = False,
) -> None:
    """Show each peer that offers a model: in or out and why, and what its score is made of.

    Nothing is asked and nothing spent. Lower scores are better; the default draws two among the
    good ones and takes the better. What was learnt comes from earlier runs of this home.
    """
    import asyncio

    from ricochet_orchestrator.views import explain_route

    flags = options.flags_of(
        strategy=routing,
        max_price_in=max_price_in,
        max_price_out=max_price_out,
        max_latency=max_latency,
        regions=region,
        allow=allow_peer,
        deny=deny_peer,
        policies=policy,
    )
    rows = asyncio.run(
        explain_route(home, model, prompt_tokens, max_tokens, flags, tuple(private_node or ()))
    )
    if as_json:
        print_json({"model": model, "peers": [_document(row) for row in rows]})
    else:
        typer.echo(_table(rows))


def _table(rows: "tuple[RouteRow, ...]") -> str:
    from ricochet_cli.progress_view import short
    from ricochet_orchestrator.eligible import WORDS

    head = ("peer", "region", "slots", "cost", "first token", "tok/s", "success", "honest", "score")
    return table(
        (*head, "calls", "in or out"),
        [
            (
                short(row.peer),
                row.region or "-",
                str(row.limit),
                dollars(Units(round(row.parts.cost))),
                f"{row.parts.first_token:.2f} s",
                f"{row.parts.pace:.0f}",
                f"{row.parts.success:.2f}",
                f"{row.parts.honest:.2f}",
                f"{row.parts.score:.1f}",
                str(row.opinion.calls),
                t("out: {why}", why=told(WORDS[row.reason])) if row.reason else t("in"),
            )
            for row in rows
        ],
    )


def _document(row: "RouteRow") -> dict[str, object]:
    return {
        "peer": row.peer,
        "operator": row.operator,
        "region": row.region,
        "in": not row.reason,
        "reason": row.reason or None,
        "price_in": row.offer.price_in,
        "price_out": row.offer.price_out,
        "context": row.offer.context,
        "slots": row.limit,
        "breaker": row.breaker.value,
        "calls": row.opinion.calls,
        "score": {
            "total": row.parts.score,
            "cost": row.parts.cost,
            "seconds": row.parts.seconds,
            "first_token_seconds": row.parts.first_token,
            "tokens_per_second": row.parts.pace,
            "success": row.parts.success,
            "honest": row.parts.honest,
        },
    }
