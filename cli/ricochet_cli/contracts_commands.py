"""`ricochet contracts`: found a network, and what its contract's owner may do."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t
from ricochet_cli.secret_input import PassphraseFile, unlock_wallet
from ricochet_cli.values import account
from ricochet_protocol.errors import UsageError
from ricochet_protocol.money import dollars

if TYPE_CHECKING:
    from ricochet_settlement.deployment import Deployment
    from ricochet_settlement.sender import Outbox
    from ricochet_settlement.treasury import ContractState

    Write = Callable[[Deployment, bytes, Outbox], Coroutine[Any, Any, ContractState]]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="For who founds a network, and owns its contract.",
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

    accounts = account(treasury, "--treasury"), token and account(token, "--token")
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
        say("wrote {out}; others run: ricochet network join {out}", out=out)
        typer.echo(made.contract)


@app.command("status")
def status(home: Home, as_json: AsJson = False) -> None:
    """Show who the treasury is, whether new money is taken, and what the contract holds."""
    import asyncio

    from ricochet_settlement.deployment import load
    from ricochet_settlement.treasury import contract_state

    deployment = load(home)
    _tell(deployment, asyncio.run(contract_state(deployment)), as_json)


@app.command("pause")
def pause(home: Home, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Take no new money: no subscription, renewal or top-up. Only the treasury's wallet may.

    What was paid in stays usable: reservations, claims, refunds and withdrawals go on.
    """
    from ricochet_settlement.treasury import set_paused

    _write(home, passphrase_file, as_json, lambda d, k, o: set_paused(d, k, True, outbox=o))


@app.command("unpause")
def unpause(home: Home, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Take new money again. Only the treasury's wallet may."""
    from ricochet_settlement.treasury import set_paused

    _write(home, passphrase_file, as_json, lambda d, k, o: set_paused(d, k, False, outbox=o))


@app.command("transfer-treasury")
def transfer(
    home: Home,
    to: Annotated[str, typer.Argument(metavar="ADDRESS", help="The account to offer it to.")],
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Offer the treasury to another account, which takes over with `accept-treasury`.

    Until then nothing changes, and another offer replaces this one. Commission earned before stays
    with the old treasury.
    """
    from ricochet_settlement.treasury import transfer_treasury

    wanted = account(to, "ADDRESS")
    _write(
        home, passphrase_file, as_json, lambda d, k, o: transfer_treasury(d, k, wanted, outbox=o)
    )


@app.command("accept-treasury")
def accept(home: Home, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Become the treasury that was offered to this wallet."""
    from ricochet_settlement.treasury import accept_treasury

    _write(home, passphrase_file, as_json, lambda d, k, o: accept_treasury(d, k, outbox=o))


def _write(home: Path, passphrase_file: Path | None, as_json: bool, write: "Write") -> None:
    import asyncio

    from ricochet_settlement.deployment import load
    from ricochet_settlement.sender import Outbox

    deployment = load(home)
    key = unlock_wallet(home, passphrase_file)
    outbox = Outbox(home, lambda row: say(row.line()))
    _tell(deployment, asyncio.run(write(deployment, key, outbox)), as_json)


def _tell(deployment: "Deployment", found: "ContractState", as_json: bool) -> None:
    if as_json:
        import msgspec

        print_json({"contract": deployment.contract, **msgspec.to_builtins(found)})
        return
    typer.echo(
        t(
            "contract  {contract} on chain {chain_id}\ntoken     {token}\nfee      "
            " {min_fee} to {max_fee} a period\nsplit     {node_percent} % to "
            "nodes, {platform_percent} % commission\ntreasury  {treasury}\nincome    {income} "
            "of commission not withdrawn yet\nholds     {held}, and owes "
            "{owed}\nnew money {taken}",
            contract=deployment.contract,
            chain_id=deployment.chain_id,
            token=deployment.token,
            min_fee=dollars(found.min_fee),
            max_fee=dollars(found.max_fee),
            node_percent=found.node_percent,
            platform_percent=100 - found.node_percent,
            treasury=found.treasury,
            income=dollars(found.income),
            held=dollars(found.held),
            owed=dollars(found.owed),
            taken=t("is not taken: paused") if found.paused else t("is taken"),
        )
    )
    if found.pending is not None:
        typer.echo(t("offered   to {pending}", pending=found.pending))
        say("next, with that wallet: ricochet contracts accept-treasury")
