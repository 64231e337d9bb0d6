"""`ricochet dev`: the pieces of a network on one machine, for development and the demo."""

from pathlib import Path
from typing import Annotated

import typer

from ricochet_cli.console import say
from ricochet_cli.home import Home, models_folder
from ricochet_protocol.errors import UsageError
from ricochet_protocol.money import Units, parse_dollars

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="A whole network on one machine: chain, model, test money. Never for real funds.",
)


@app.command("chain")
def chain(
    state: Annotated[Path, typer.Option(dir_okay=False, help="File that keeps the chain.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free port.")] = 8545,
) -> None:
    """Run an Ethereum chain on loopback; prints its RPC URL once it answers."""
    from ricochet_settlement.devchain.http import serve

    serve(state, port, typer.echo)


@app.command("model")
def model(
    keys_file: Annotated[
        Path, typer.Option(dir_okay=False, exists=True, help="API keys it accepts, one a line.")
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free port.")] = 0,
    weights_folder: Annotated[
        Path | None, typer.Option(file_okay=False, help="[default: in the user data folder]")
    ] = None,
) -> None:
    """Run the small default model behind an OpenAI-compatible server; prints its base URL."""
    import signal
    import threading

    from ricochet_node.local_model import serve
    from ricochet_node.weights import weights

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    keys = [line.strip() for line in keys_file.read_text("utf-8").splitlines() if line.strip()]
    serve(weights(weights_folder or models_folder()), keys, port, typer.echo, stop)


@app.command("faucet")
def faucet(
    home: Home,
    dollars: Annotated[str, typer.Option(help="Test dollars for the wallet.")] = "20",
) -> None:
    """Give this home's wallet test dollars and gas, and its session key gas, on a dev chain."""
    import asyncio

    from ricochet_protocol.signing import account_address
    from ricochet_settlement.deployment import load
    from ricochet_settlement.faucet import WEI_PER_ETHER, give
    from ricochet_settlement.hot_key import load_or_create
    from ricochet_settlement.wallet import address_of

    try:
        units = parse_dollars(dollars)
    except ValueError as error:
        raise UsageError("bad_amount", str(error), "give dollars such as 20 or 7.50") from None
    deployment, wallet = load(home), address_of(home / "wallet.json")
    session = account_address(load_or_create(home / "session.key"))

    async def fund() -> None:
        await give(deployment, wallet, wei=WEI_PER_ETHER, units=units)
        await give(deployment, session, wei=WEI_PER_ETHER, units=Units(0))

    asyncio.run(fund())
    say("{wallet} has ${dollars} more in test dollars, and gas", wallet=wallet, dollars=dollars)


@app.command("stop")
def stop(
    folder: Annotated[Path, typer.Argument(help="Folder that `ricochet demo --keep` printed.")],
) -> None:
    """Stop a network that `ricochet demo --keep`, or a killed demo, left running."""
    from ricochet_cli.demo.processes import stop_recorded

    for name in stop_recorded(folder):
        say("stopped {name}", name=name)
