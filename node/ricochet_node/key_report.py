"""How each key stands, in a few words, for commands: with the node running or not."""

import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from ricochet_node import counters, key_states
from ricochet_node.counters import Counters
from ricochet_node.key_state import READY, State, words


def key_states_told(home: Path, marks: Mapping[str, str]) -> dict[str, str]:
    """By key id; LocalFault when a file cannot be used."""
    now, found = time.time(), key_states.read(home, marks)
    disabled: set[str] = set()
    if (home / counters.FILE_NAME).exists():
        with closing(Counters(home / counters.FILE_NAME)) as book:
            disabled = {key for key in marks if book.is_disabled(key)}
    told = {}
    for key in marks:
        lacks = sorted(
            model
            for (of, model), standing in found.items()
            if of == key and model and standing.state is State.UNKNOWN
        )
        said = "disabled" if key in disabled else words(found.get((key, ""), READY), now)
        told[key] = said + (f", lacks {', '.join(lacks)}" if lacks else "")
    return told
