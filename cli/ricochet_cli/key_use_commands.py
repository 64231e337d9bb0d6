"""`ricochet keys show`, `test`, `disable`, `enable`: what a key may do, does and did."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t, tn, told
from ricochet_cli.secret_input import PassphraseFile, passphrase

if TYPE_CHECKING:
    from ricochet_node.key_rules import KeyRules

Name = Annotated[str, typer.Argument(help="The key's name, from `ricochet keys list`.")]


def ends_of(last4: str) -> str:
    """How a key's secret is told apart."""
    return f"…{last4}" if last4 else t("no secret")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("show")(show)
    app.command("test")(test)
    app.command("disable")(disable)
    app.command("enable")(enable)


def show(home: Home, name: Name, as_json: AsJson = False) -> None:
    """Show a key's provider, its limits from node.yaml, and what it used today and this month.

    Calls that are open, or ended without a report of their tokens, count at their worst case.
    Those of a key without a secret and limits go straight to the provider, and count in
    `node stats` only.
    """
    from ricochet_node.keystore import Keystore
    from ricochet_node.providers import provider_of
    from ricochet_protocol.money import Units, dollars

    info = Keystore(home / "keys.json").find(name)
    rules, used = _rules(home, name), _used(home, name)
    document: dict[str, Any] = {
        "id": info.id,
        "provider": info.provider,
        "url": info.origin,
        "ends": info.last4,
        **used,
        "limits": _limits(rules),
        "models": list(rules.models or ()),
    }
    if as_json:
        print_json(document)
        return
    typer.echo(
        t(
            "key       {id} ({ends}) of {provider}, {origin}",
            id=info.id,
            ends=ends_of(info.last4),
            provider=info.provider,
            origin=info.origin,
        )
    )
    typer.echo(t("state     disabled") if used["disabled"] else t("state     enabled"))
    for period in ("day", "month"):
        spent = dollars(Units(used[period]["spent"]))
        typer.echo(
            t(
                "{period:<10}{spent} in {calls}",
                period=told(period),
                spent=spent,
                calls=tn("{count} call", "{count} calls", used[period]["calls"]),
            )
        )
    typer.echo(t("models    {models}", models=", ".join(rules.models or ()) or t("none offered")))
    for limit, value in document["limits"].items():
        typer.echo(f"{told(limit):<10}{value}")
    if not document["limits"]:
        say(
            "no limits; set one so: ricochet node config set keys.{key}.rpm 60 (calls a minute)",
            key=info.id,
        )
    if not (info.last4 or provider_of(info.provider).needs_key or rules.is_limited):
        say(
            "Without a secret and limits, its calls go straight to the provider and are not "
            "counted here: `ricochet node stats --by key` has them."
        )


def test(
    home: Home,
    name: Name,
    model: Annotated[
        str | None,
        typer.Option(help="Ask this model for one token. [default: one you offer with the key]"),
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask the provider for its models and one of them for one token, and say what the key can do.

    The call goes through a vault, within your limits. Without an offered model and without --model
    only the list is asked for, which is free but says nothing about credit.
    """
    import asyncio
    import time

    import msgspec

    from ricochet_node.key_limits import with_prices
    from ricochet_node.key_probe import probe_key
    from ricochet_node.keystore import Keystore

    info = Keystore(home / "keys.json").find(name)
    rules = _rules(home, name)
    chosen = model or next(iter(rules.models or ()), None)
    rules = msgspec.structs.replace(rules, models=None if chosen is None else (chosen,))
    rules = with_prices(rules, name, info.provider)
    phrase = passphrase(passphrase_file, opens=home / "keys.json")
    report = asyncio.run(probe_key(home, phrase, info, rules, chosen, time.time()))
    if as_json:
        print_json({"id": name, "valid": True, **msgspec.to_builtins(report)})
        return
    tried = (
        t("{tried} answers", tried=report.tried)
        if report.tried
        else t("no model was tried, give --model")
    )
    say(
        "key {name} works: it sees {models}; {tried}",
        name=name,
        models=tn("{count} model", "{count} models", len(report.models))
        if report.models
        else t("no list of models"),
        tried=tried,
    )
    for limit, value in report.limits.items():
        say(f"{limit}: {value}")
    for each in report.models:
        typer.echo(each)


def disable(home: Home, name: Name, as_json: AsJson = False) -> None:
    """Switch a key off at once: no further call is sent, not even by a running node.

    Calls under way come to their end.
    """
    _switch(home, name, on=False, as_json=as_json)


def enable(home: Home, name: Name, as_json: AsJson = False) -> None:
    """Let a disabled key work again, and try one anew that its provider refused."""
    _switch(home, name, on=True, as_json=as_json)


def _switch(home: Path, name: str, *, on: bool, as_json: bool) -> None:
    from contextlib import closing

    from ricochet_node import key_states
    from ricochet_node.counters import FILE_NAME, Counters
    from ricochet_node.keystore import Keystore

    Keystore(home / "keys.json").find(name)
    with closing(Counters(home / FILE_NAME)) as counters, counters.change():
        (counters.enable if on else counters.disable)(name)
    if on:
        key_states.forget(home, name)
    if as_json:
        print_json({"id": name, "disabled": not on})
    else:
        say("key {name} is enabled" if on else "key {name} is disabled", name=name)


def _rules(home: Path, name: str) -> "KeyRules":
    """What node.yaml says of the key; no limits without that file."""
    from ricochet_node import config
    from ricochet_node.key_rules import KeyRules

    if not (home / config.FILE_NAME).exists():
        return KeyRules()
    return config.load(home).limits.get(name, KeyRules())


def _used(home: Path, name: str) -> dict[str, Any]:
    from contextlib import closing

    from ricochet_node.counters import FILE_NAME, Counters

    day = _rules(home, name).local(time.time()).date().isoformat()
    with closing(Counters(home / FILE_NAME)) as counters:
        spent = {"day": counters.spent(name, day), "month": counters.spent(name, day[:7])}
        return {
            "disabled": counters.is_disabled(name),
            **{key: {"spent": each.amount, "calls": each.calls} for key, each in spent.items()},
        }


def _limits(rules: "KeyRules") -> dict[str, Any]:
    from ricochet_protocol.money import dollars

    hours = rules.hours
    told = {
        "rpm": rules.rpm or None,
        "tpm": rules.tpm or None,
        "at once": rules.concurrency or None,
        "per day": None if rules.per_day is None else dollars(rules.per_day),
        "per month": None if rules.per_month is None else dollars(rules.per_month),
        "hours": hours and f"{_clock(hours.start)}-{_clock(hours.end)} {rules.time_zone}".strip(),
    }
    return {name: value for name, value in told.items() if value is not None}


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
