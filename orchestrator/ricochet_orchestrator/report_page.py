"""A run's result with its trace as one HTML page that needs nothing else and runs nothing.

Every text is escaped, there is no script, no image and no address outside the page, and the page's
own policy forbids all of them: it can be opened, mailed and archived whatever a model has written.
The result comes first; under it each statement of the trace unfolds.
"""

import re
from html import escape
from typing import Final

from ricochet_orchestrator.progress import printable
from ricochet_orchestrator.reports import reads
from ricochet_orchestrator.trace import Trace, TracedStep
from ricochet_protocol.money import dollars

_CITATION: Final = re.compile(r"\[(\d+(?:\s*[,;]\s*\d+)*)\]")
_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 17px/1.6 Georgia, serif; max-width: 46rem; margin: 3rem auto; padding: 0 1.2rem; }
h1, h2, summary, table, .facts { font-family: system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.1rem; margin-top: 2.5rem; }
.facts, .of { color: GrayText; font-size: .85rem; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
details { border-top: 1px solid var(--line); padding: .45rem 0; }
summary { cursor: pointer; font-size: .92rem; } summary .of { float: right; }
details > .text { background: var(--soft); padding: .8rem 1rem; border-radius: .4rem; }
ol.segments { font: .85rem/1.5 system-ui, sans-serif; } :target { background: #fd06; }
a { color: inherit; }
""".strip()


def as_html(trace: Trace) -> str:
    """The whole page."""
    run, result = trace.run, trace.result
    outputs = [step for step in trace.steps if step.id in set(trace.outputs)]
    others = [step for step in reversed(trace.steps) if step.id not in set(trace.outputs)]
    title = f"{printable(run.chain)}: {printable(run.document)}"
    nothing = f"No result: the run is {run.status.value}."
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            f'<p class="facts">Run {escape(run.id)}, {run.status.value}: {result.calls} calls, '
            f"{result.tokens_in:,} tokens in, {result.tokens_out:,} out, "
            f"{dollars(result.cost)}, {run.seconds:.1f} s</p>",
            f'<div class="text">{_text(result.output or nothing, trace)}</div>',
            "<h2>What the result rests on</h2>",
            *(_step(step, trace) for step in outputs),
            "<h2>The steps before</h2>",
            *(_step(step, trace) for step in others),
            "<h2>Segments of the source</h2>",
            '<ol class="segments">',
            *(
                f'<li id="s{number}">{escape(printable(where))}</li>'
                for number, where in enumerate(trace.places, start=1)
            ),
            "</ol></body></html>",
            "",
        ]
    )


def _text(text: str, trace: Trace) -> str:
    """Escaped text; citations of segments lead to them."""
    plain = escape(printable(text))
    if not trace.run.cites:
        return plain

    def linked(match: re.Match[str]) -> str:
        numbers = re.split(r"\s*[,;]\s*", match[1])
        return "[" + ", ".join(_link(int(number) - 1, trace) for number in numbers) + "]"

    return _CITATION.sub(linked, plain)


def _link(segment: int, trace: Trace) -> str:
    number = f"{segment + 1}"
    known = 0 <= segment < len(trace.origins)
    return f'<a href="#s{number}">{number}</a>' if known else number


def _step(step: TracedStep, trace: Trace) -> str:
    peer = step.status.value if step.peer is None else f"…{step.peer[-6:]}"
    price = dollars(step.cost) if step.paid or step.peer is None else "paid by an earlier run"
    links = ", ".join(_link(segment, trace) for segment in step.rests_on) or "none"
    inputs = ", ".join(
        f'<a href="#{escape(source)}">{escape(source[:8])}</a>' for source in step.inputs
    )
    return (
        f'<details id="{escape(step.id)}"><summary>{escape(step.name)} '
        f'<span class="of">{escape(step.model)} · {escape(peer)} · {price}</span></summary>'
        f'<p class="facts">{escape(step.role)} · {escape(reads(step))}, '
        f"{step.tokens_in:,} → {step.tokens_out:,} tokens, {step.seconds:.1f} s<br>"
        + (f"from answers {inputs}<br>" if inputs else "")
        + f"rests on segments {links}</p>"
        f'<div class="text">{_text(step.text, trace)}</div></details>'
    )
