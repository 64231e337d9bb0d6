"""`ricochet chain`: run chains of models over documents, and see how runs stand."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ricochet_cli import routing_options as options
from ricochet_cli.console import print_json, table
from ricochet_cli.home import AsJson, Home
from ricochet_orchestrator.media import Media

if TYPE_CHECKING:
    from ricochet_orchestrator.app import RunResult

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Chains of models over a document: analyzer → summarizer → integrator.",
)


@app.command("run")
def run(
    home: Home,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Files and folders that make one document, each file a part; - is standard input.",
        ),
    ],
    chain: Annotated[str, typer.Option(help="Which chain: ricochet chain list.")] = "overview",
    model: Annotated[
        str | None, typer.Option(help="Model for all steps. [default: what the network offers]")
    ] = None,
    private_node: Annotated[
        list[str] | None,
        typer.Option(
            help="Operator's account of a private node that serves you; may be repeated. Your own "
            "account's counts anyway."
        ),
    ] = None,
    allow_logging: Annotated[
        bool,
        typer.Option(
            "--allow-logging",
            help="Let the owners of nodes keep your prompts and answers in a log, where they do. "
            "Without it no node that keeps to the rules does.",
        ),
    ] = False,
    media: Annotated[
        Media | None,
        typer.Option("--type", help="What the files are. [default: as content and name say]"),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of text that is not UTF-8 and has no mark.")
    ] = None,
    overlap: Annotated[
        int,
        typer.Option(min=0, max=4096, help="Tokens of the text before that each call is shown."),
    ] = 0,
    headings: Annotated[
        bool, typer.Option("--headings", help="Show each call the headings above its text.")
    ] = False,
    routing: options.Strategy = None,
    max_price_in: options.MaxPriceIn = None,
    max_price_out: options.MaxPriceOut = None,
    max_latency: options.MaxLatency = None,
    region: options.Regions = None,
    allow_peer: options.Allow = None,
    deny_peer: options.Deny = None,
    policy: options.Policies = None,
    hedge: options.Hedge = None,
    seed: options.Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Run a chain over a document and print its result.

    Folders are read in the order of names, without hidden files and what .gitignore excludes; what
    is left out is listed.

    Finished steps are kept: after an interruption the same command goes on where it stopped, and
    no finished step is paid twice. Ctrl-C once stops in order, twice at once.
    """
    from ricochet_cli.chain_runner import run_with_view
    from ricochet_orchestrator.context import Context
    from ricochet_orchestrator.reading import Inputs

    result = run_with_view(
        home,
        Inputs(tuple(files), media, encoding),
        Context(overlap, headings),
        chain,
        model,
        tuple(private_node or ()),
        allow_logging=allow_logging,
        routing=options.flags_of(
            strategy=routing,
            max_price_in=max_price_in,
            max_price_out=max_price_out,
            max_latency=max_latency,
            regions=region,
            allow=allow_peer,
            deny=deny_peer,
            policies=policy,
            hedge=hedge,
        ),
        seed=seed,
    )
    if as_json:
        print_json(run_document(result))
    else:
        typer.echo(result.output)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


@app.command("list")
def list_chains(home: Home, as_json: AsJson = False) -> None:
    """Show the chains that can be run here."""
    from ricochet_orchestrator.chains import list_chains as all_chains

    chains = all_chains(home)
    if as_json:
        print_json(
            [
                {
                    "name": chain.name,
                    "description": chain.description,
                    "steps": [
                        {"name": s.name, "role": s.role, "mode": s.mode} for s in chain.steps
                    ],
                }
                for chain in chains
            ]
        )
        return
    rows = [(c.name, " → ".join(s.role for s in c.steps), c.description) for c in chains]
    typer.echo(table(("chain", "roles", "what it does"), rows))


@app.command("status")
def status(
    home: Home,
    run_id: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="The run's id. [default: the latest]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how a run stands: steps, peers, tokens and cost."""
    from ricochet_cli.chain_status import status_document, status_text
    from ricochet_orchestrator.app import run_status

    state = run_status(home, run_id)
    if as_json:
        print_json(status_document(state))
    else:
        typer.echo(status_text(state))


def run_document(result: "RunResult") -> dict[str, object]:
    """A run's result as the JSON that `chain run --json` prints."""
    return {
        "run": {
            "id": result.run_id,
            "status": result.status,
            "steps": result.steps,
            "calls": result.calls,
            "tokens_in": result.tokens_in,
            "tokens_out": result.tokens_out,
            "cost": result.cost,
            "seconds": round(result.seconds, 3),
        },
        "peers": [
            {
                "peer": peer.peer,
                "operator": peer.operator,
                "calls": peer.calls,
                "tokens_in": peer.tokens_in,
                "tokens_out": peer.tokens_out,
                "cost": peer.cost,
                "first_token_seconds": peer.first_token,
            }
            for peer in result.peers
        ],
        "output": result.output,
    }
