"""One target under libFuzzer, in a process of its own: `python -m fuzz.one TARGET FLAG…`.

`TARGET` is one of `targets`, or `MODULE:FUNCTION` for any other; the modules of the product and
that module are instrumented as they are imported.
"""

import importlib
import logging
import sys
from collections.abc import Callable

import atheris


def _found(name: str) -> Callable[[bytes], None]:
    module, separator, function = name.partition(":")
    packages = ["ricochet_protocol", "ricochet_network", *([module] if separator else ["fuzz"])]
    with atheris.instrument_imports(include=packages, enable_loader_override=False):
        if separator:
            take: Callable[[bytes], None] = getattr(importlib.import_module(module), function)
            return take
        targets = importlib.import_module("fuzz.targets")
    known: Callable[[bytes], None] = targets.TARGETS[name].take
    return known


def main() -> None:
    # Every refusal is a line otherwise, and most of what is tried is refused.
    logging.getLogger("ricochet_network").setLevel(logging.CRITICAL)
    take = _found(sys.argv[1])
    atheris.Setup([sys.argv[0], *sys.argv[2:]], take)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
