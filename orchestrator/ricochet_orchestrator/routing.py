"""How calls are to be routed: one set of settings, from `routing.yaml` and from flags, flags first.

Files are `.ricochet/routing.yaml` of the working folder, whose entries win, and `routing.yaml` of
the home folder. What is not known here is refused with the file and the field: a ceiling that is
misspelt and ignored costs money. Prices are dollars per million tokens in quotes, as in node.yaml.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ricochet_orchestrator.field_errors import explained
from ricochet_protocol.errors import ConfigurationError, UsageError
from ricochet_protocol.ids import peer_public_key
from ricochet_protocol.money import PricePerMillion, Units, parse_dollars
from ricochet_protocol.sharing import Kind

Strategy = Literal["balanced", "round-robin", "cheapest", "fastest"]
FILE: Final = "routing.yaml"
MAX_FILE: Final = 64 * 1024
_OPERATOR = re.compile(r"0x[0-9a-f]{40}")


class RoutingSettings(msgspec.Struct, frozen=True):
    """Who may serve a run's calls, how one is chosen, and what may be spent to know better.

    Prices are units per million tokens. `max_latency` is about the first token, in seconds, as
    learnt. `allow` and `deny` hold peers and operators; an empty `allow`, `regions` or `policies`
    lets everybody in. `hedge` is the share of expected cost for rivals of slow calls, `redundancy`
    the share of steps that a second peer answers too, `canaries` what one run may spend on them.
    """

    strategy: Strategy = "balanced"
    max_price_in: PricePerMillion | None = None
    max_price_out: PricePerMillion | None = None
    max_latency: float | None = None
    regions: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    policies: tuple[Kind, ...] = ()
    hedge: float = 0.05
    redundancy: float = 0.0
    canaries: Units = Units(0)

    def __post_init__(self) -> None:
        if self.max_latency is not None and not 0 < self.max_latency <= 600:
            raise ValueError("max_latency: from 0 to 600 seconds")
        for name in ("hedge", "redundancy"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: a share, from 0 to 1")
        for one in (*self.allow, *self.deny):
            _check_party(one)


DEFAULTS: Final = RoutingSettings()


class RoutingFlags(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file or a command line says of them, as people write it; None: nothing.

    `max_price_in`, `max_price_out` and `canaries` are dollars as text.
    """

    strategy: Strategy | None = None
    max_price_in: str | None = None
    max_price_out: str | None = None
    max_latency: float | None = None
    regions: tuple[str, ...] | None = None
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] | None = None
    policies: tuple[Kind, ...] | None = None
    hedge: float | None = None
    redundancy: float | None = None
    canaries: str | None = None

    def over(self, settings: RoutingSettings) -> RoutingSettings:
        """The settings with what is said here instead; ValueError names the field."""
        said: dict[str, Any] = {
            name: value for name, value in msgspec.structs.asdict(self).items() if value is not None
        }
        for name in ("max_price_in", "max_price_out", "canaries"):
            if name in said:
                said[name] = _dollars(name, said[name])
        for name in ("allow", "deny"):
            if name in said:
                said[name] = tuple(
                    one.lower() if one.lower().startswith("0x") else one for one in said[name]
                )
        return msgspec.structs.replace(settings, **said)

    def words(self) -> list[str]:
        """The same as options of a command, to be run again."""
        words: list[str] = []
        for name, value in msgspec.structs.asdict(self).items():
            values = value if isinstance(value, tuple) else [] if value is None else [value]
            for one in values:
                words += [OPTIONS[name], str(one)]
        return words


NO_FLAGS: Final = RoutingFlags()

OPTIONS: Final = {
    "strategy": "--routing",
    "max_price_in": "--max-price-in",
    "max_price_out": "--max-price-out",
    "max_latency": "--max-latency",
    "regions": "--region",
    "allow": "--allow-peer",
    "deny": "--deny-peer",
    "policies": "--policy",
    "hedge": "--hedge",
    "redundancy": "--redundancy",
    "canaries": "--canaries",
}
"""Which option of a command says what."""


def files(home: Path, working: Path) -> tuple[Path, ...]:
    """Where settings are looked for; later ones win."""
    return (home / FILE, working / ".ricochet" / FILE)


def load(places: Sequence[Path], flags: RoutingFlags) -> RoutingSettings:
    """The settings; ConfigurationError about a file, UsageError about a flag."""
    settings = RoutingSettings()
    for path in places:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _refused(path, f"cannot be read: {error.strerror}") from None
        settings = parse(path, data, settings)
    try:
        # A command passes words as they were typed: only a conversion checks them.
        checked = msgspec.convert(msgspec.structs.asdict(flags), RoutingFlags)
        return checked.over(settings)
    except ValueError as error:
        raise UsageError(
            "bad_routing",
            f"Routing: {_problem(error)}.",
            "ricochet chain run --help shows what it takes.",
        ) from None


def parse(path: Path, data: bytes, settings: RoutingSettings = DEFAULTS) -> RoutingSettings:
    """The settings with what a file says instead; ConfigurationError, which names its path."""
    try:
        return _flags(data).over(settings)
    except ValueError as error:
        raise _refused(path, _problem(error)) from None


def _problem(error: ValueError) -> str:
    if isinstance(error, msgspec.ValidationError):
        return explained(error, RoutingFlags)
    return str(error)


def _flags(data: bytes) -> RoutingFlags:
    import yaml

    if len(data) > MAX_FILE:
        raise ValueError(f"is larger than {MAX_FILE // 1024} KiB")
    try:
        tree = yaml.safe_load(data.decode("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise ValueError("is not YAML in UTF-8") from None
    return msgspec.convert({} if tree is None else tree, RoutingFlags)


def _refused(path: Path, problem: str) -> ConfigurationError:
    return ConfigurationError(
        "routing_invalid",
        f"{path}: {problem}.",
        "Mend the file; its entries are those of the routing options of `ricochet chain run`.",
    )


def _dollars(name: str, text: str) -> Units:
    try:
        return parse_dollars(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _check_party(text: str) -> None:
    if _OPERATOR.fullmatch(text):
        return
    try:
        peer_public_key(text)  # type: ignore[arg-type] # that is what is being checked
    except ValueError:
        raise ValueError(f"neither a peer's id nor an operator's account: {text!r}") from None
