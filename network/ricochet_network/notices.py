"""Sends a notice out of a process: to a webhook, or to the desktop's own notifier.

Both the node's alerts and the end of a run go this way; what is said, and when, is theirs. A
webhook is tried three times and never redirected. Sending tells why it failed and raises nothing:
a notice that cannot be delivered is no reason to stop work.
"""

import asyncio
import shutil
import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import aiohttp

PAUSES: Final = (1.0, 5.0)
"""Seconds before the second and the third try of a webhook."""
TIMEOUT: Final = 10.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def webhook_problem(url: str) -> str:
    """Why notices cannot go to this address, "" when they can: they go encrypted, or stay here."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "not an address"
    if not host or parts.scheme not in ("https", "http"):
        return "give https://HOST/…"
    if parts.scheme == "http" and host not in _LOOPBACK:
        return "plain http goes to this machine only; use https"
    return ""


async def post_notice(client: "aiohttp.ClientSession", url: str, body: bytes) -> str:
    """Give a JSON document to a webhook; "" when it took it, else why not."""
    reason = await _try_post(client, url, body)
    for pause in PAUSES:
        if not reason:
            break
        await asyncio.sleep(pause)
        reason = await _try_post(client, url, body)
    return reason


async def _try_post(client: "aiohttp.ClientSession", url: str, body: bytes) -> str:
    import aiohttp

    try:
        async with client.post(
            url,
            data=body,
            headers={"Content-Type": "application/json", "User-Agent": "ricochet"},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
        ) as response:
            return "" if response.status < 300 else f"status {response.status}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return type(error).__name__


async def show_notice(text: str) -> str:
    """Show a line on the desktop; "" when that was done, else why not."""
    command = desktop_command(text)
    if command is None:
        return "no notifier"
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        return "the notifier does not end"
    return ""


def desktop_command(text: str) -> list[str] | None:
    """The system's own program that shows a notification; None where there is none."""
    if sys.platform == "darwin":
        program = shutil.which("osascript")
        # Title and text are arguments of the script, never part of its source.
        script = (
            "on run argv\n"
            "display notification (item 2 of argv) with title (item 1 of argv)\n"
            "end run"
        )
        arguments = ["-e", script, "Ricochet", text]
    else:
        program = shutil.which("notify-send")
        arguments = ["--app-name=Ricochet", "--", "Ricochet", text]
    return None if program is None else [program, *arguments]
