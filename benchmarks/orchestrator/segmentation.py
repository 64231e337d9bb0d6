"""Segments: complete, within budget, quick and small.

`python benchmarks/orchestrator/segmentation.py` prints JSON. 10,000 random documents of every form
are cut with random budgets and contexts, and each is put together again. Then: seconds for 100k
tokens of Python's language reference, for a line of 5 MB without a space, memory for a million
tokens in a process of its own, where cuts in Python code fall by the judgement of Python's own
parser, and what it takes to read a small file of each kind.
"""

import ast
import json
import os
import string
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from pydoc_data.topics import topics
from random import Random
from typing import Any

from ricochet_orchestrator.context import Context
from ricochet_orchestrator.document import Document, document_from, document_of, part_of
from ricochet_orchestrator.media import Form
from ricochet_orchestrator.reading import Inputs, load
from ricochet_orchestrator.segment import HEADING_TOKENS, MIN_BUDGET, segment
from ricochet_protocol.tokens import count_tokens

DOCUMENTS = 10_000
MEMORY_TARGET_MB = 150
REFERENCE = "\n\n".join(topics.values())
"""106k tokens."""
ALPHABETS = (
    string.ascii_lowercase + "  .\n",
    string.printable,
    "漢字仮名。、\n",
    "слова и ещё. \n",
    "🧑\u200d🔬e\u0301🇩🇪\r\n ",
)
LINES = ("# One", "## Two", "Title", "=====", "```", "- item", "", "", "    deep", "def f():", "}")


def random_text(random: Random) -> str:
    lines = []
    for _ in range(random.randrange(0, 40)):
        if random.random() < 0.4:
            lines.append(random.choice(LINES))
        else:
            letters = random.choice(ALPHABETS)
            lines.append("".join(random.choices(letters, k=random.randrange(0, 200))))
    return "\n".join(lines)


def random_document(random: Random) -> Document:
    forms = list(Form)
    parts = range(random.choice((1, 1, 1, 2, 3)))
    return document_of(
        "random",
        tuple(part_of(f"{n}", random_text(random), form=random.choice(forms)) for n in parts),
    )


def coverage(seed: int = 1) -> dict[str, int]:
    random = Random(seed)
    lossy = over = crossing = segments = 0
    for _ in range(DOCUMENTS):
        document = random_document(random)
        context = Context(random.choice((0, 0, 10, 40)), random.random() < 0.3)
        extra = 0 if context == Context() else context.overlap + HEADING_TOKENS + 60
        budget = random.randrange(MIN_BUDGET, 400) + extra
        made = segment(document, budget, count_tokens, context)
        text = document.text
        lossy += "".join(one.text for one in made) != text
        lossy += any(text[one.start : one.end] != one.text for one in made)
        over += sum(count_tokens(one.shown) > budget for one in made)
        crossing += sum(len(document.trace(one.start, one.end)) != 1 for one in made)
        segments += len(made)
    return {
        "documents": DOCUMENTS,
        "segments": segments,
        "lossy": lossy,
        "over_budget": over,
        "crossing_parts": crossing,
    }


def timed(document: Document, budget: int) -> dict[str, Any]:
    counted = 0

    def count(text: str) -> int:
        nonlocal counted
        counted += len(text)
        return count_tokens(text)

    begin = time.perf_counter()
    made = segment(document, budget, count)
    seconds = time.perf_counter() - begin
    used = [count_tokens(one.text) for one in made[:-1]]
    return {
        "budget": budget,
        "segments": len(made),
        "seconds": round(seconds, 3),
        "counted_times_the_text": round(counted / len(document.text), 2),
        "mean_fill": round(sum(used) / budget / max(len(used), 1), 3),
    }


def speed() -> dict[str, Any]:
    random = Random(1)
    line = "".join(random.choices(string.ascii_lowercase, k=5_000_000))
    texts = {
        "reference_100k_tokens": document_from("reference", REFERENCE),
        "reference_as_markdown": document_from("reference", REFERENCE, Form.MARKDOWN),
        "line_of_5_mb": document_from("line", line),
        "spaces_5_mb": document_from("spaces", " " * 5_000_000),
    }
    return {
        name: [timed(text, budget) for budget in (1_000, 8_000)] for name, text in texts.items()
    }


def definitions() -> dict[str, Any]:
    """Which cuts in the standard library fall where a function or class begins."""
    at_definition = between_statements = cuts = 0
    folder = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(folder.glob("*.py"))[:80]:
        text = path.read_text("utf-8")
        nodes = list(ast.walk(ast.parse(text)))
        begun = {
            min([node.lineno, *(one.lineno for one in node.decorator_list)])
            for node in nodes
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }
        statements = {node.lineno for node in nodes if isinstance(node, ast.stmt)} | begun
        lines = text.splitlines()
        for one in segment(document_from(path.name, text, Form.CODE), 1_000, count_tokens)[1:]:
            row = text.count("\n", 0, one.start) + 1
            # A comment in front of a definition belongs to it.
            while row < len(lines) and (
                not lines[row - 1].strip() or lines[row - 1].lstrip()[:1] == "#"
            ):
                row += 1
            cuts += 1
            at_definition += row in begun
            between_statements += row in statements
    return {
        "cuts": cuts,
        "at_a_definition": round(at_definition / cuts, 3),
        "between_statements": round(between_statements / cuts, 3),
    }


def memory() -> dict[str, Any]:
    """Resident memory of a process that reads and cuts a million tokens."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "million.txt"
        path.write_text("\n\n".join([REFERENCE] * 10), "utf-8")
        command = [sys.executable, __file__, "--child", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return {**json.loads(done.stdout), "target_mb": MEMORY_TARGET_MB}


def peak_mb() -> int:
    """The most this program has held; `getrusage` would count what started it as well."""
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def child(path: Path) -> dict[str, Any]:
    count_tokens("warm")
    before = peak_mb()
    begin = time.perf_counter()
    document = load(Inputs((path,))).document
    made = segment(document, 8_000, count_tokens)
    seconds = time.perf_counter() - begin
    after = peak_mb()
    return {
        "tokens": sum(count_tokens(one.text) for one in made),
        "segments": len(made),
        "seconds": round(seconds, 2),
        "rss_mb_with_the_counter_alone": before,
        "rss_mb": after,
    }


def reading() -> dict[str, float]:
    """Seconds to read a file of 10,000 paragraphs as text, and as HTML in its process."""
    paragraphs = [f"This is paragraph {number}." for number in range(10_000)]
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (
            ("a.txt", "\n\n".join(paragraphs)),
            ("a.html", "<html>" + "".join(f"<p>{one}</p>" for one in paragraphs)),
        ):
            path = Path(folder) / name
            path.write_text(text, "utf-8")
            begin = time.perf_counter()
            load(Inputs((path,)))
            seconds[name] = round(time.perf_counter() - begin, 3)
    return seconds


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(Path(sys.argv[2]))))
        return
    result = {
        "coverage": coverage(),
        "speed": speed(),
        "definitions": definitions(),
        "memory": memory(),
        "reading_seconds": reading(),
        "load": os.getloadavg()[0],
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
