"""`ricochet node`: offer models and serve them with your own keys."""

from typing import Annotated

import typer

from ricochet_cli import node_config_commands, payout_commands
from ricochet_cli.console import print_json, say, table
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t, tn
from ricochet_cli.lifecycle_commands import doctor, drain, resume, stop
from ricochet_cli.secret_input import PassphraseFile, passphrase
from ricochet_cli.stats_command import stats
from ricochet_cli.token_commands import app as token_app

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The key owner's program: offer models, serve calls, earn.",
)
app.add_typer(payout_commands.app, name="payout")
app.add_typer(node_config_commands.app, name="config")


@app.command("offer")
def offer(
    home: Home,
    model: Annotated[str, typer.Argument(help="The model's name on the network.")],
    key: Annotated[str, typer.Option(help="Which of your keys serves it: ricochet keys list.")],
    price_in: Annotated[str, typer.Option(help="Dollars per million tokens in, such as 0.40.")],
    price_out: Annotated[str, typer.Option(help="Dollars per million tokens out.")],
    context: Annotated[int, typer.Option(min=1, help="The model's window in tokens.")],
    slots: Annotated[int, typer.Option(min=1, help="Calls served at once.")] = 1,
    upstream_model: Annotated[
        str | None, typer.Option(help="The provider's name for it. [default: the same]")
    ] = None,
    supports: Annotated[
        list[str] | None,
        typer.Option(
            help="What asks may use: top_p, stop, seed, json_object, json_schema, tools; may be "
            "repeated. [default: stop, top_p]"
        ),
    ] = None,
) -> None:
    """Write an offer into node.yaml; a running node takes it up, or says why not.

    Comments in the file are lost. More keys for it: ricochet node add-source.
    """
    from ricochet_node.admin import is_running
    from ricochet_node.config import write_offer
    from ricochet_node.offer import DEFAULT_FEATURES, new_offer
    from ricochet_protocol.money import Units, dollars

    made = new_offer(
        model=model,
        upstream_model=upstream_model or model,
        key=key,
        context=context,
        price_in=price_in,
        price_out=price_out,
        slots=slots,
        supports=supports or DEFAULT_FEATURES,
    )
    write_offer(home, made)
    say(
        "{model} is offered at {price_in} in, {price_out} out per million tokens",
        model=model,
        price_in=dollars(Units(made.shown.price_in)),
        price_out=dollars(Units(made.shown.price_out)),
    )
    if is_running(home):
        say("the running node takes it up if it started with that key: ricochet node status")
    else:
        say("next: ricochet node start")


@app.command("add-source")
def add_source(
    home: Home,
    model: Annotated[str, typer.Argument(help="A model you offer already.")],
    key: Annotated[str, typer.Option(help="Which of your keys serves it too.")],
    upstream_model: Annotated[
        str | None, typer.Option(help="That key's provider's name for it. [default: the same]")
    ] = None,
    weight: Annotated[int, typer.Option(min=1, help="Its share, when balance is weighted.")] = 1,
    balance: Annotated[
        str | None, typer.Option(help="round-robin, weighted or least-loaded. [default: as it is]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve an offer from one more key, or change a source's weight; the file's comments are lost.

    A running node takes it up by itself if it started with that key, else at its next start.
    """
    from ricochet_node.config import load, write_offer
    from ricochet_node.offer import Source, balance_of, with_source
    from ricochet_protocol.errors import UsageError

    offered = next((one for one in load(home).offers if one.model == model), None)
    if offered is None:
        raise UsageError("no_offer", f"you do not offer {model}", "run `ricochet node offer` first")
    source = Source(key, upstream_model or model, weight)
    made = with_source(offered, source, balance_of(balance) if balance else None)
    write_offer(home, made)
    if as_json:
        print_json({"model": model, "keys": list(made.keys), "balance": made.balance})
    else:
        say(
            "{model} is served by {sources}, {balance}",
            model=model,
            sources=tn("{count} source", "{count} sources", len(made.sources)),
            balance=made.balance,
        )


@app.command("start")
def start(
    home: Home,
    listen: Annotated[
        list[str] | None,
        typer.Option(help="Multiaddr to listen on; may be repeated. [default: loopback]"),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Run the node until Ctrl-C: advertise your offers, serve calls, claim what you earned.

    Provider keys are decrypted in a separate vault process only. The first start registers the
    node on the chain with your wallet; later ones do not touch it.
    """
    from ricochet_cli.node_runner import run_in_foreground
    from ricochet_node.passphrase import Passphrase

    # No name for the text itself: this frame lives as long as the node.
    run_in_foreground(
        home, Passphrase(passphrase(passphrase_file, opens=home / "keys.json")), tuple(listen or ())
    )


def _reach(reached: bool | None, relays: int) -> str:
    if reached:
        return t("reach     other peers can dial it")
    if relays:
        return t(
            "reach     through relays ({count}): others cannot dial it themselves", count=relays
        )
    if reached is None:
        return t("reach     no other peer has tried to dial it yet")
    return t("reach     others cannot dial it: `ricochet node doctor` says what to do")


@app.command("status")
def status(home: Home, as_json: AsJson = False) -> None:
    """Show what the running node offers and has served."""
    import asyncio

    from ricochet_node.admin import status as ask_status
    from ricochet_protocol.money import Units, dollars

    state = asyncio.run(ask_status(home))
    if as_json:
        print_json(state)
        return
    typer.echo(
        t("peer      {peer}\noperator  {operator}", peer=state["peer"], operator=state["operator"])
    )
    for text in state["addresses"]:
        typer.echo(t("address   {address}", address=text))
    typer.echo(_reach(state["reached"], len(state["relays"])))
    rows = [
        (
            offer["model"],
            t("yes") if offer["offered"] else t("no"),
            str(offer["calls"]),
            f"{offer['tokens_in']:,}",
            f"{offer['tokens_out']:,}",
        )
        for offer in state["models"]
    ]
    typer.echo(table(("model", "offered", "calls", "tokens in", "tokens out"), rows))
    keys = [(key["key"], key["told"], str(key["open_calls"])) for key in state["keys"]]
    typer.echo(table(("key", "state", "open calls"), keys))
    if state["draining"]:
        typer.echo(t("draining: no call is admitted; `ricochet node resume` ends it"))
    typer.echo(
        t(
            "earned    {earned} (your 70 % of what was vouchered)",
            earned=dollars(Units(state["earned"])),
        )
    )


@app.command("funds")
def funds(home: Home, as_json: AsJson = False) -> None:
    """Show where every unit is that your node ever served, and until when it can be claimed.

    Works with the node running or stopped; ends with code 1 if the states do not add up.
    """
    import asyncio

    from ricochet_cli.funds_view import funds_text
    from ricochet_node.owner import funds as find
    from ricochet_protocol.errors import LocalFault

    found = asyncio.run(find(home))
    if as_json:
        print_json(found)
    else:
        typer.echo(funds_text(found))
    if not found["accounted"]:
        raise LocalFault(
            "books_disagree",
            "the states of the money do not add up to what was served",
            f"keep {home / 'node.db'} as it is and report this; nothing on the chain is wrong",
        )


@app.command("claim")
def claim(home: Home, as_json: AsJson = False) -> None:
    """Claim all vouchers now, whatever the gas costs; with the node running or stopped."""
    import asyncio

    from ricochet_node.owner import claim as do_claim

    _tell_done(asyncio.run(do_claim(home)), as_json)


@app.command("withdraw")
def withdraw(home: Home, as_json: AsJson = False) -> None:
    """Send what was claimed to your payout address; with the node running or stopped."""
    import asyncio

    from ricochet_node.owner import withdraw as do_withdraw

    _tell_done(asyncio.run(do_withdraw(home)), as_json)


@app.command("settle")
def settle(home: Home, as_json: AsJson = False) -> None:
    """Claim all vouchers now and withdraw: `claim` and `withdraw` in one step."""
    import asyncio

    from ricochet_node.owner import settle as do_settle

    _tell_done(asyncio.run(do_settle(home)), as_json)


def _tell_done(done: dict[str, int], as_json: bool) -> None:
    from ricochet_protocol.money import Units, dollars

    if as_json:
        print_json(done)
    else:
        typer.echo(", ".join(f"{what} {dollars(Units(done[what]))}" for what in done))


for _command in (stats, doctor, drain, resume, stop):
    app.command()(_command)
app.add_typer(token_app, name="token")
