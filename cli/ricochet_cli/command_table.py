"""The commands of `ricochet`, each loaded when it is called: this table is all that `--help` needs.

Loading them all took most of a light command's time, because each option of each command is looked
at. A line's help is written here, short enough to be shown whole.
"""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, Final, NamedTuple

import typer

# typer 0.28, which pyproject.toml pins, carries its own copy of click.
from typer._click import Command, Context, HelpFormatter
from typer._click.shell_completion import CompletionItem
from typer.core import TyperGroup
from typer.main import get_command, get_group

from ricochet_cli.examples import examples_by_command
from ricochet_cli.help_text import SpokenContext, speak
from ricochet_cli.language import t


class Entry(NamedTuple):
    """`attribute` of the module is a Typer, or the function of a single command."""

    module: str
    attribute: str
    help: str


TABLE: Final = {
    "Start": {
        "init": Entry("init_command", "init", "set this machine up; says what comes next"),
        "doctor": Entry("doctor_command", "doctor", "what is wrong here, and what mends it"),
        "config": Entry("config_commands", "app", "settings by name, and where each comes from"),
        "completion": Entry("completion_command", "completion", "let your shell complete commands"),
        "demo": Entry("demo_command", "demo", "run the whole network on this machine, once"),
        "network": Entry("network_commands", "app", "join a network; see how it stands"),
        "wallet": Entry("wallet_commands", "app", "your account on the chain"),
    },
    "As a subscriber": {
        "subscribe": Entry("subscribe_command", "subscribe", "pay for 30 days"),
        "subscription": Entry("subscription_commands", "app", "what is left, who earned the rest"),
        "chain": Entry("chain_commands", "app", "run chains of models over documents"),
        "monitor": Entry("monitor_command", "monitor", "watch a run in a box"),
        "stats": Entry("stats_chain_command", "app", "what calls add up to"),
        "models": Entry("models_commands", "app", "choose a model for each role"),
        "tasks": Entry("tasks_commands", "app", "tasks of the project in this folder"),
        "forges": Entry("forges_commands", "app", "tokens of GitHub and GitLab, for your tasks"),
        "add-task": Entry("tasks_commands", "add", "short for `tasks add`"),
        "edit-task": Entry("tasks_commands", "edit", "short for `tasks edit`"),
        "delete-task": Entry("tasks_commands", "delete", "short for `tasks delete`"),
        "analyze-complexity": Entry(
            "tasks_model_commands", "analyze", "short for `tasks analyze-complexity`"
        ),
        "route": Entry("route_commands", "app", "who would serve a call, and why"),
        "peers": Entry("peers_commands", "app", "peers, and what runs learnt of them"),
        "serve": Entry("serve_commands", "app", "let any OpenAI client use the network"),
        "mcp": Entry("mcp_commands", "app", "let the chat of an editor use it"),
    },
    "As a key owner": {
        "keys": Entry("keys_commands", "app", "provider keys, encrypted on this machine"),
        "add-key": Entry("keys_commands", "add", "short for `keys add`"),
        "node": Entry("node_commands", "app", "offer models, serve calls, earn"),
        "policy": Entry("policy_commands", "app", "whose access may be sold; permissions"),
        "logs": Entry("logs_commands", "app", "requests that your node was asked to serve"),
    },
    "As a founder": {
        "contracts": Entry("contracts_commands", "app", "found a network; own its contract"),
        "dev": Entry("dev_commands", "app", "parts of a development network"),
    },
}
ENTRIES: Final = {name: entry for group in TABLE.values() for name, entry in group.items()}


class _OnDemand(MutableMapping[str, Command]):
    """The commands by name, each built when it is first looked up."""

    def __init__(self) -> None:
        self._built: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._built:
            self._built[name] = _build(name, ENTRIES[name])
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(ENTRIES)

    def __len__(self) -> int:
        return len(ENTRIES)

    def __setitem__(self, name: str, command: Command) -> None:
        raise TypeError("commands are added to the table")

    def __delitem__(self, name: str) -> None:
        raise TypeError("commands are removed from the table")


class Commands(TyperGroup):
    """The group whose commands are those of the table."""

    context_class = SpokenContext

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _OnDemand()

    def list_commands(self, ctx: Context) -> list[str]:
        """Their names, in the table's order."""
        return list(ENTRIES)

    def shell_complete(self, ctx: Context, incomplete: str) -> list[CompletionItem]:
        """What a shell completes, from the table, without loading a command."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=entry.help)
            for name, entry in ENTRIES.items()
            if name.startswith(incomplete)
        ]

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """The table, without loading a command."""
        for title, entries in TABLE.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.help) for name, entry in entries.items()])


def _build(name: str, entry: Entry) -> Command:
    found = getattr(import_module(f"ricochet_cli.{entry.module}"), entry.attribute)
    command: Command
    if isinstance(found, typer.Typer):
        command = get_group(found)
    else:
        single = typer.Typer(
            add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
        )
        single.command(name)(found)
        command = get_command(single)
    command.name = name
    _teach(command, f"ricochet {name}")
    speak(command)
    return command


def _teach(command: Command, name: str) -> None:
    """Let the help of a command, and of all below it, end with examples."""
    tree = dict(_tree(command, name))
    for path, lines in examples_by_command(tree).items():
        # \b: lines that are not to be wrapped.
        tree[path].epilog = "\n".join(["\b", t("Examples:"), *(f"  {line}" for line in lines)])


def _tree(command: Command, name: str) -> Iterator[tuple[str, Command]]:
    yield name, command
    if isinstance(command, TyperGroup):
        for below, one in command.commands.items():
            yield from _tree(one, f"{name} {below}")
