"""`ricochet demo`: the whole network on this machine, on a real document, with real processes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Quiet
from ricochet_cli.language import t
from ricochet_protocol.errors import ExitCode, LocalFault, UsageError

if TYPE_CHECKING:
    from ricochet_cli.demo.flow import Demo, Upstream
    from ricochet_cli.demo.report import Report


def demo(
    document: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="A text of your own. [default: 11k tokens of Python's reference]"
        ),
    ] = None,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Kill a node in mid-run; nothing may be lost.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the network running, to use it by hand.")
    ] = False,
    upstream: Annotated[
        str | None,
        typer.Option(help="Base URL of an OpenAI-compatible server instead of the local model."),
    ] = None,
    upstream_keys: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="With --upstream: a file of three API keys, one a line."),
    ] = None,
    upstream_model: Annotated[
        str | None, typer.Option(help="With --upstream: the model's name there.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole network here: chain, model, three nodes, one subscriber, one document.

    Starts every part in a process of its own, pays with test money, prints the overview and where
    each unit went, and stops everything. The first run fetches 92 MB of model weights.
    """
    import asyncio
    import tempfile

    from ricochet_cli.demo.flow import Demo
    from ricochet_orchestrator.document import default_document
    from ricochet_orchestrator.media import PLAIN
    from ricochet_orchestrator.reading import Inputs, load

    text = default_document() if document is None else load(Inputs((document,))).document
    other = _upstream(upstream, upstream_keys, upstream_model)
    folder = Path(tempfile.mkdtemp(prefix="ricochet-demo-"))
    plain = text.parts[0].media in PLAIN
    source = folder / (text.name if plain else f"{Path(text.name).stem}.md")
    source.write_text(text.text, "utf-8")
    report = asyncio.run(_supervise(Demo(folder, source, other, chaos), keep))
    if as_json:
        print_json(report.document())
    else:
        typer.echo(report.text())
    if keep:
        say(_walk(folder))
    if not report.accounted:
        raise typer.Exit(ExitCode.FAILURE)


async def _supervise(demo: "Demo", keep: bool) -> "Report":
    """Run it; stop every process unless it succeeded and is to be kept."""
    import asyncio
    import shutil
    import signal

    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(demo.run())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        report = await task
    except asyncio.CancelledError:
        say("stopping what was started …")
        await demo.children.stop()
        shutil.rmtree(demo.folder)
        raise KeyboardInterrupt from None
    except BaseException:
        await demo.children.stop()
        say("what the processes said is in {folder}", folder=demo.folder / "logs")
        raise
    if keep:
        return report
    await demo.children.stop()
    shutil.rmtree(demo.folder)
    return report


def _upstream(url: str | None, keys: Path | None, model: str | None) -> "Upstream | None":
    if url is None and keys is None and model is None:
        return None
    from ricochet_cli.demo.flow import OWNERS, Upstream
    from ricochet_node.weights import MODEL_NAME

    if url is None or keys is None:
        raise UsageError(
            "usage", "--upstream and --upstream-keys go together", "ricochet demo --help"
        )
    try:
        lines = tuple(line.strip() for line in keys.read_text("utf-8").splitlines() if line.strip())
    except OSError as error:
        raise LocalFault("keys_file", f"cannot read {keys}", "check the path") from error
    if len(lines) != len(OWNERS):
        raise UsageError(
            "usage", f"{keys} holds {len(lines)} keys, the demo needs {len(OWNERS)}", "one a line"
        )
    return Upstream(url, model or MODEL_NAME, lines)


def _walk(folder: Path) -> str:
    return "\n".join(
        [
            "",
            t("The network is still running. Try it as its subscriber:"),
            f"  export RICOCHET_HOME={folder / 'subscriber'}",
            "  ricochet chain status",
            "  ricochet chain run README.md --chain overview",
            t("as a key owner:"),
            f"  ricochet node status --home {folder / 'alice'}",
            f"  ricochet keys list --home {folder / 'alice'}",
            t("or as somebody new:"),
            "  export RICOCHET_HOME=$PWD/me",
            f"  ricochet network join {folder / 'subscriber' / 'network.json'}",
            "  ricochet wallet new && ricochet dev faucet && ricochet subscribe --plan 10",
            t("and stop it with:"),
            f"  ricochet dev stop {folder}",
        ]
    )
