"""How a running node is stopped, drained and looked at; joined to `ricochet node`."""

from typing import Annotated

import typer

from ricochet_cli.console import print_json, say
from ricochet_cli.home import AsJson, Home
from ricochet_cli.language import t, tn


def stop(
    home: Home,
    wait: Annotated[
        int, typer.Option(min=1, max=600, help="Seconds to wait until the process has ended.")
    ] = 120,
    as_json: AsJson = False,
) -> None:
    """Stop the node in order: open calls may end, what is worth it is claimed."""
    import asyncio

    from ricochet_node.admin import stop as ask_to_stop
    from ricochet_protocol.errors import LocalFault

    told = asyncio.run(ask_to_stop(home))
    if not as_json:
        say(
            tn(
                "stopping; {count} open call may end",
                "stopping; {count} open calls may end",
                told["open_calls"],
            )
        )
    if not _ended(told["pid"], wait):
        raise LocalFault(
            "still_running",
            f"the node (pid {told['pid']}) has not ended within {wait} s",
            "it is claiming or a call is long: wait, and look with `ricochet node status`",
        )
    if as_json:
        print_json({"stopped": told["pid"]})
    else:
        say("stopped")


def drain(home: Home, as_json: AsJson = False) -> None:
    """Admit no more calls, and stay up: for maintenance, or before an update.

    Open calls end, claims go on, the advert says that nothing is offered. `resume` ends it.
    """
    import asyncio

    from ricochet_node.admin import drain as ask_to_drain

    done = asyncio.run(ask_to_drain(home))
    if as_json:
        print_json(done)
    else:
        say(
            tn(
                "draining; {count} call open; `ricochet node resume` admits calls again",
                "draining; {count} calls open; `ricochet node resume` admits calls again",
                done["open_calls"],
            )
        )


def resume(home: Home, as_json: AsJson = False) -> None:
    """Admit calls again after `drain`."""
    import asyncio

    from ricochet_node.admin import resume as ask_to_resume

    done = asyncio.run(ask_to_resume(home))
    if as_json:
        print_json(done)
    else:
        say("offering {models}", models=", ".join(done["models"]) or t("nothing"))
        if not done["models"]:
            say("no key can be asked now: `ricochet node status` says why, and for how long")


def doctor(home: Home, as_json: AsJson = False) -> None:
    """Check everything the node needs, and name the command that mends what is wrong.

    Changes nothing and asks for no passphrase. Ends with code 1 when something has to be mended.
    """
    import asyncio

    from ricochet_cli.findings_view import show_findings
    from ricochet_node.doctor import examine

    show_findings({"node": asyncio.run(examine(home))}, as_json)


def _ended(pid: int, seconds: int) -> bool:
    """Whether the process has ended in time; one that its parent has yet to reap has."""
    import time

    import psutil

    deadline = time.monotonic() + seconds
    try:
        process = psutil.Process(pid)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
    except psutil.NoSuchProcess:
        pass
    return True
