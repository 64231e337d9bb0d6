"""How requests are shown and exported, and how a moment in time is named."""

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

from ricochet_cli.console import table
from ricochet_cli.language import told
from ricochet_node.request_log import OK, RequestRecord
from ricochet_protocol.errors import UsageError
from ricochet_protocol.money import Units, dollars

_AGO: Final = re.compile(r"(\d{1,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_COLUMNS: Final = (
    *("time", "outcome", "model", "key", "subscriber"),
    *("tokens in", "out", "ms", "income"),
)
_WIDTHS: Final = (19, 12, 24, 12, 13, 9, 7, 8, 10)
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"


def moment(text: str, now: float) -> float:
    """Unix seconds of `2h` ago or of a UTC date or time; UsageError for anything else."""
    ago = _AGO.fullmatch(text)
    if ago:
        return now - int(ago[1]) * _SECONDS[ago[2]]
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            "bad_time", f"not a time: {text!r}", "use 90m, 2h, 7d, or a date such as 2026-11-01"
        ) from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def plain(record: RequestRecord) -> dict[str, Any]:
    """The record for JSON: amounts in units, `at` the time as text."""
    values: dict[str, Any] = msgspec.to_builtins(record)
    return {"at": _at(record.time) + "Z", **values}


def header() -> str:
    """Names of the columns of `as_row`."""
    return _aligned([told(name) for name in _COLUMNS])


def as_row(record: RequestRecord) -> str:
    """One line for a person."""
    return _aligned(_cells(record))


def write_export(stream: TextIO, records: Iterable[RequestRecord], form: str) -> int:
    """Write all records as `csv`, `md` or `json`; how many there were."""
    match form:
        case "csv":
            return _write_csv(stream, records)
        case "md":
            return _write_markdown(stream, records)
        case _:
            return _write_json(stream, records)


def stats_text(groups: Sequence[Mapping[str, Any]], whole: Mapping[str, Any], by: str) -> str:
    """A table of groups with a bar for each one's income, and their sum."""
    most = max((one["income"] for one in groups), default=0)
    rows = [_stats_row(one, most) for one in groups]
    rows.append(_stats_row(whole, 0))
    headers = (
        *(by, "requests", "failed", "tokens in", "tokens out"),
        *("income", "your share", "cost", "at risk", "margin", "median ms", "p95 ms", ""),
    )
    return table(headers, rows)


def chart(values: Sequence[int]) -> str:
    """One character a value, as high as its part of the highest."""
    most = max(values, default=0)
    if most == 0:
        return "".join(_BLOCKS[0] for _ in values)
    return "".join(_BLOCKS[-(-value * (len(_BLOCKS) - 1) // most)] for value in values)


def bar(value: int, most: int, width: int = 20) -> str:
    """`value` as a part of `most`; at least a sliver for anything above nothing."""
    if most <= 0 or value <= 0:
        return ""
    return "█" * (value * width // most) or "▏"


def _stats_row(one: Mapping[str, Any], most: int) -> tuple[str, ...]:
    def money(name: str) -> str:
        return dollars(Units(one[name]))

    margin = one["margin"]
    return (
        one["name"],
        f"{one['requests']:,}",
        f"{one['failed']:,}",
        f"{one['tokens_in']:,}",
        f"{one['tokens_out']:,}",
        money("income"),
        money("share"),
        money("upstream_cost") + ("+?" if one["unpriced"] else ""),
        money("upstream_risk") if one["upstream_risk"] else "-",
        "?" if margin is None else _signed(margin),
        _number(one["median_ms"]),
        _number(one["p95_ms"]),
        bar(one["income"], most),
    )


def _signed(amount: int) -> str:
    return f"-{dollars(Units(-amount))}" if amount < 0 else dollars(Units(amount))


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _cells(record: RequestRecord) -> tuple[str, ...]:
    who = record.subscriber or "local"
    return (
        _at(record.time),
        "replayed" if record.replayed and record.outcome == OK else record.outcome,
        record.model,
        record.key or "-",
        who if len(who) < 14 else f"{who[:8]}…{who[-4:]}",
        f"{record.tokens_in:,}",
        f"{record.tokens_out:,}",
        f"{record.ms:,}",
        dollars(record.income),
    )


def _aligned(cells: Sequence[str]) -> str:
    texts = [
        cell.rjust(width) if index >= 5 else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    ]
    return "  ".join(texts).rstrip()


def _at(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _write_csv(stream: TextIO, records: Iterable[RequestRecord]) -> int:
    names = ["at", *RequestRecord.__struct_fields__]
    writer = csv.DictWriter(stream, names)
    writer.writeheader()
    count = 0
    for record in records:
        writer.writerow({name: _safe(value) for name, value in plain(record).items()})
        count += 1
    return count


def _safe(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula is quoted; peers choose model names."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t"):
        return "'" + value
    return value


def _write_markdown(stream: TextIO, records: Iterable[RequestRecord]) -> int:
    stream.write("| " + " | ".join(_COLUMNS) + " |\n")
    stream.write("|" + "---|" * len(_COLUMNS) + "\n")
    count = 0
    for record in records:
        cells = (cell.replace("|", "\\|") for cell in _cells(record))
        stream.write("| " + " | ".join(cells) + " |\n")
        count += 1
    return count


def _write_json(stream: TextIO, records: Iterable[RequestRecord]) -> int:
    stream.write("[")
    count = 0
    for record in records:
        stream.write(("," if count else "") + "\n  " + json.dumps(plain(record)))
        count += 1
    stream.write("\n]\n" if count else "]\n")
    return count
