"""How this program starts the processes that hold or handle what others want to have.

A child runs as `python -I -S` with an explicit path and almost no environment, so that neither a
`.pth` file of some installed package nor a variable of this shell runs code in it. What it must
know goes through its stdin, which stays open as its lifeline.
"""

import asyncio
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final

_PACKAGES: Final = ("ricochet_node", "ricochet_protocol", "ricochet_settlement", "aiohttp")
_KEPT_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SYSTEMROOT", "TZ")
"""Where a company keeps its certificates, what Windows needs for a socket, and the time zone."""
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


async def start_isolated(
    module: str, variables: Mapping[str, str] = _NOTHING
) -> asyncio.subprocess.Process:
    """A process that runs `main()` of a module, with pipes for stdin and stdout."""
    start = f"import sys; sys.path += sys.argv[1:]; from {module} import main; main()"
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", start, *_import_path()),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**kept, **variables},
    )


def _import_path() -> list[str]:
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    for package in _PACKAGES:
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            folders.append(str(Path(spec.origin).parent.parent))
    return list(dict.fromkeys(folders))
