"""`ricochet contracts`: put the contract on a chain, once for each network."""

from pathlib import Path
from typing import Annotated

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
from ricochet_cli.secret_input import PassphraseFile, unlock_wallet
from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import Address, address

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="For who founds a network: its contract."
)


@app.command("deploy")
def deploy(
    home: Home,
    rpc: Annotated[str, typer.Option(help="The chain's JSON-RPC URL.")],
    treasury: Annotated[str, typer.Option(help="Account that receives the commission.")],
    token: Annotated[
        str | None,
        typer.Option(help="The stablecoin's address. [default on a dev chain: a new test dollar]"),
    ] = None,
    bootstrap: Annotated[
        list[str] | None, typer.Option(help="Multiaddr of a first peer; may be repeated.")
    ] = None,
    out: Annotated[
        Path, typer.Option(dir_okay=False, help="Where to write the network's description.")
    ] = Path("network.json"),
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Deploy the contract with your wallet, and write the file that others join the network by.

    Contract, token and commission are for ever: nobody can change them later.
    """
    import asyncio

    import msgspec

    from ricochet_settlement.deploy import deploy as create
    from ricochet_settlement.deployment import check_rpc, create_file

    accounts = _account(treasury, "--treasury"), token and _account(token, "--token")
    check_rpc(rpc)
    if out.exists():
        raise UsageError("file_exists", f"{out} exists", "Give another name with --out.")
    key = unlock_wallet(home, passphrase_file)
    made = asyncio.run(
        create(rpc, key, accounts[0], accounts[1] or None, lambda row: say(row.line()))
    )
    made = msgspec.structs.replace(made, bootstrap=tuple(bootstrap or ()))
    create_file(out, made)
    if as_json:
        print_json(msgspec.to_builtins(made))
    else:
        say(f"wrote {out}; others run: ricochet network join {out}")
        typer.echo(made.contract)


def _account(text: str, option: str) -> Address:
    try:
        return address(text)
    except ValueError as error:
        raise UsageError("bad_address", f"{option}: {error}", "Give 0x and 40 digits.") from None
