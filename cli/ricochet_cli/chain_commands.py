"""`ricochet chain`: run chains of models over documents; `run_commands` has what follows."""

from pathlib import Path
from typing import Annotated

import typer

from ricochet_cli import (
    chain_edit_commands,
    encryption_commands,
    privacy_options,
    result_commands,
    routing_options,
    run_commands,
)
from ricochet_cli.console import print_json, table
from ricochet_cli.home import AsJson, Home, Quiet
from ricochet_cli.language import told
from ricochet_orchestrator.media import Media
from ricochet_protocol.ids import ModelId

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
    routing: routing_options.Strategy = None,
    max_price_in: routing_options.MaxPriceIn = None,
    max_price_out: routing_options.MaxPriceOut = None,
    max_latency: routing_options.MaxLatency = None,
    region: routing_options.Regions = None,
    allow_peer: routing_options.Allow = None,
    deny_peer: routing_options.Deny = None,
    policy: routing_options.Policies = None,
    hedge: routing_options.Hedge = None,
    redundancy: routing_options.Redundancy = None,
    canaries: routing_options.Canaries = None,
    seed: routing_options.Seed = 0,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Tell calls, tokens, cost and time, and who could serve; call nobody."
        ),
    ] = False,
    notify: Annotated[
        list[str] | None,
        typer.Option(
            help="desktop or webhook=URL: tell there when the run ends or stops with an error; "
            "may be repeated. Notices hold no text of documents or answers."
        ),
    ] = None,
    redact: privacy_options.Redact = None,
    redact_terms: privacy_options.Terms = None,
    redact_region: privacy_options.Region = None,
    sensitivity: privacy_options.Sensitivity = None,
    max_cost: run_commands.MaxCost = None,
    max_time: run_commands.MaxTime = None,
    detach: run_commands.Detach = False,
    set_text: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=TEXT: a parameter of the chain; may be repeated."),
    ] = None,
    set_file: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: a parameter's value from a file.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a chain over a document and print its result.

    Folders are read in the order of names, without hidden files and what .gitignore excludes; what
    is left out is listed.

    Finished steps are kept: after an interruption the same command, or `chain resume`, goes on
    where it stopped, and no finished step is paid twice. Ctrl-C once stops in order, twice at once.
    """
    from ricochet_cli.chain_runner import read_document, run_with_view, show_result
    from ricochet_cli.values import account
    from ricochet_orchestrator.app import Options, Task, enter_run
    from ricochet_orchestrator.context import Context
    from ricochet_orchestrator.parameters import given
    from ricochet_orchestrator.reading import Inputs

    options = Options(
        model=None if model is None else ModelId(model),
        private_nodes=tuple(account(one, "--private-node") for one in private_node or ()),
        allow_logging=allow_logging,
        parameters=given(set_text or (), set_file or ()),
        context=Context(overlap, headings),
        max_cost=None if max_cost is None else run_commands.amount(max_cost),
        max_time=max_time,
        notify=tuple(notify or ()),
        seed=seed,
    )
    flags = routing_options.flags_of(
        strategy=routing,
        max_price_in=max_price_in,
        max_price_out=max_price_out,
        max_latency=max_latency,
        regions=region,
        allow=allow_peer,
        deny=deny_peer,
        policies=policy,
        hedge=hedge,
        redundancy=redundancy,
        canaries=canaries,
    )
    loaded = read_document(Inputs(tuple(files), media, encoding))
    kept = privacy_options.privacy_of(redact, redact_terms, redact_region, sensitivity)
    task = Task(loaded.document, chain, options, flags, kept)
    if dry_run:
        run_commands.show_estimate(home, task, as_json, loaded.skipped)
    elif detach:
        run_commands.detached(home, enter_run(home, task), as_json, loaded.skipped)
    else:
        show_result(run_with_view(home, task), as_json, loaded.skipped)


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
    rows = [(c.name, " → ".join(s.role for s in c.steps), told(c.description)) for c in chains]
    typer.echo(table(("chain", "roles", "what it does"), rows))


chain_edit_commands.add_to(app)
run_commands.register(app)
result_commands.register(app)
app.add_typer(encryption_commands.app, name="encryption")
