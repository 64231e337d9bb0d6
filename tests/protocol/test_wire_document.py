"""What docs/wire.md says of structures, codes and numbers is what the code does."""

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from ricochet_network import call, door_guard, libp2p_streams, libp2p_yamux, multiplexer, quota
from ricochet_network.directory import ABSENCE, MAX_PEERS
from ricochet_network.libp2p_connection import WRITE_DEADLINE
from ricochet_protocol import advert, conversation, eip712, messages, mux, receipt, sharing
from ricochet_protocol.errors import REMOTE_CODES
from ricochet_protocol.framing import MAX_FRAME

TEXT = (Path(__file__).parents[2] / "docs" / "wire.md").read_text("utf-8")
MODULES = (advert, conversation, eip712, receipt, sharing)


def section(title: str) -> str:
    return re.split(r"^#+ ", TEXT.partition(f" {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def fields_of(kind: Any) -> list[str]:
    return [one.encode_name for one in msgspec.structs.fields(kind)]


STRUCTURES = {name.strip("`"): text for name, text in rows(section("Structures"))}


def structure(name: str) -> Any:
    (found,) = {vars(module)[name] for module in MODULES if name in vars(module)}
    return found


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_has_these_fields_in_this_order(name: str) -> None:
    told = re.findall(r"`(\w+)`", re.sub(r"\[[^]]*\]", "", STRUCTURES[name]))
    assert told == fields_of(structure(name))


def test_every_structure_that_travels_is_told() -> None:
    seen: set[str] = set()

    def look(kind: Any) -> None:
        for part in get_args(kind):
            look(part)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            if kind.__name__ in seen:
                return
            seen.add(kind.__name__)
            for one in msgspec.structs.fields(kind):
                look(one.type)

    look(messages.Request | messages.Reply)
    told = {one.__name__ for one in get_args(messages.Request | messages.Reply)}
    assert seen - told == STRUCTURES.keys()


def test_every_message_is_told_with_its_fields() -> None:
    said = " ".join(cell for row in rows(section("Messages")) for cell in row)
    told = {name: re.findall(r"\w+", inner) for name, inner in re.findall(r"(\w+) \{(.*?)\}", said)}
    real = {
        one.__struct_config__.tag: fields_of(one)
        for one in get_args(messages.Request | messages.Reply)
    }
    assert told == real


def test_every_frame_is_told_with_its_fields() -> None:
    told: dict[str, list[str]] = {}
    for row in rows(section("Frames")):
        for tag in re.findall(r"`(\w)`", row[0]):
            told[tag] = re.findall(r"`(\w+)`", row[1])
    real = {one.__struct_config__.tag: fields_of(one) for one in get_args(mux.AnyFrame)}
    assert told == real


def test_every_code_is_told() -> None:
    told = {code for row in rows(section("Codes")) for code in re.findall(r"`(\w+)`", row[0])}
    assert told == REMOTE_CODES


@pytest.mark.parametrize(
    ("title", "number"),
    [
        ("The wire", MAX_FRAME),
        ("Frames", mux.FRAGMENT),
        ("Frames", mux.MAX_WAIT),
        ("Life of a call", mux.WINDOW),
        ("Life of a call", call.CREDIT_STEP),
        ("Limits", mux.MAX_CALLS),
        ("Limits", int(libp2p_streams.HANDSHAKE)),
        ("Limits", int(multiplexer.ARRIVAL)),
        ("Limits", int(multiplexer.IDLE) // 60),
        ("Limits", int(WRITE_DEADLINE)),
        ("Limits", int(quota.RATES.requests)),
        ("Limits", int(quota.RATES.adverts)),
        ("Limits", int(quota.RATES.adverts_burst)),
        ("Limits", quota.SNAPSHOT_COST),
        ("Limits", quota.MEMORY >> 20),
        ("Limits", door_guard.OPEN_EACH),
        ("Limits", door_guard.HALF_OPEN_EACH),
        ("Limits", door_guard.OPEN),
        ("Limits", door_guard.HALF_OPEN),
        ("Limits", int(door_guard.RATE)),
        ("Limits", int(door_guard.BURST)),
        ("Yamux", int(libp2p_yamux.PINGS)),
        ("Yamux", int(libp2p_yamux.PINGS_AT_ONCE)),
        ("Yamux", int(libp2p_yamux.FRAMES)),
        ("Yamux", int(libp2p_yamux.FRAMES_AT_ONCE)),
        ("Yamux", libp2p_yamux.PENDING),
        ("Yamux", libp2p_yamux.UNREAD >> 20),
        ("Yamux", libp2p_yamux.UNSENT >> 10),
        ("Yamux", libp2p_yamux.WINDOW >> 10),
        ("Structures", advert.MAX_ADVERT),
        ("Structures", advert.MAX_MODELS),
        ("Structures", advert.MAX_TTL),
        ("Discovery", MAX_PEERS),
        ("Discovery", messages.MAX_ADVERTS),
        ("Discovery", advert.CLOCK_TOLERANCE),
        ("Discovery", int(ABSENCE)),
        ("Circuits", libp2p_streams.STREAMS),
        ("Circuits", int(libp2p_streams.OPENED_AT_ONCE)),
    ],
)
def test_a_number_is_the_codes_own(title: str, number: int) -> None:
    words = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    told = [f"{number:,}"] + ([words[number - 1]] if number <= 10 else [])
    assert any(re.search(rf"(?<![\d,]){one}(?![\d,]\d)", section(title)) for one in told)
