"""Do chains help? `python -m benchmarks.quality --papers N`, from the project's folder.

Five ways of summarizing the same papers with the same model, each compared with what annotators
wrote. Three hypotheses are three pairs of them:

    context     a chain reads a paper longer than the window: `overview` against one truncated call
    roles       analyzer, summarizer, integrator against the same calls with one instruction
    checkpoints each call sees the checkpoint of what came before, against calls that do not

It needs `pip install -e ".[bench]"`. Prints JSON: for each way its mean scores, calls, tokens and
cost; for each hypothesis the paired difference with a 95 % interval. Progress is on stderr. The
model is the local one, or `--upstream URL --upstream-keys FILE --upstream-model NAME` (three keys,
one a line). A paper takes minutes with the local model: with `--out FILE` a run goes on where the
last one ended. A way that fails on a paper leaves it out of every comparison, and is counted.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import msgspec
from benchmarks.quality.network import Model, Network, TooLong, network
from benchmarks.quality.papers import Paper, papers
from benchmarks.quality.scores import Difference, Scorer, Scores, difference

CACHE: Final = Path.home() / ".cache" / "ricochet-benchmarks"
ANSWER: Final = 160
"""Tokens of every way's last answer."""
PROMPT: Final = "{text}\n\nWrite an overview of the text above, in four sentences."
CHAINS: Final = ("overview", "without-roles", "carry-over", "without-carry-over")
HYPOTHESES: Final = {
    "context": ("overview", "truncated"),
    "roles": ("overview", "without-roles"),
    "checkpoints": ("carry-over", "without-carry-over"),
}


class Summary(msgspec.Struct, frozen=True):
    """What one way made of a paper."""

    text: str
    calls: int
    tokens: int
    cost: int
    seconds: float
    scores: Scores


def truncated(net: Network, text: str) -> str:
    """The best that one call can do: as much of the beginning as the window takes."""
    length, step = 0, len(text)
    answer = ""
    while step >= len(text) // 16:
        try:
            answer = net.ask(PROMPT.format(text=text[: length + step]), ANSWER)
            length += step
        except TooLong:
            pass
        step //= 2
    if not answer:
        raise TooLong
    return answer


def even(output: str, words: int) -> str:
    """The answers of an output, each with its share of `words`: as long as what it is held to."""
    answers = output.split("\n\n")
    share = max(1, words // len(answers))
    return " ".join(" ".join(answer.split()[:share]) for answer in answers)


def summaries(net: Network, paper: Paper, scorer: Scorer) -> dict[str, Summary]:
    """Every way's summary of a paper."""
    texts = {"truncated": truncated(net, paper.text)}
    took: dict[str, Any] = {"truncated": {"calls": 1, "tokens": 0, "cost": 0, "seconds": 0.0}}
    for chain in CHAINS:
        report = net.run(chain, paper.id, paper.text)
        run = report["run"]
        texts[chain] = report["output"]
        tokens = run["tokens_in"] + run["tokens_out"]
        took[chain] = {
            "calls": run["calls"],
            "tokens": tokens,
            "cost": run["cost"],
            "seconds": run["seconds"],
        }
    length = len(texts["carry-over"].split())
    texts["without-carry-over"] = even(texts["without-carry-over"], length)
    return {
        way: Summary(
            text=text, scores=scorer.score(text, paper.reference, paper.summaries), **took[way]
        )
        for way, text in texts.items()
    }


def verdicts(done: Sequence[dict[str, Summary]]) -> dict[str, Any]:
    """The three hypotheses by both measures."""

    def compared(one: str, other: str, measure: str) -> Difference:
        values = [[getattr(each[way].scores, measure) for each in done] for way in (one, other)]
        return difference(*values)

    return {
        name: {
            "of": one,
            "against": other,
            **{
                measure: {
                    **msgspec.to_builtins(found := compared(one, other, measure)),
                    "verdict": found.verdict,
                }
                for measure in ("rouge_l", "coverage")
            },
        }
        for name, (one, other) in HYPOTHESES.items()
    }


def means(done: Sequence[dict[str, Summary]]) -> dict[str, Any]:
    """Each way's means over the papers."""
    return {
        way: {
            "rouge_l": fmean(each[way].scores.rouge_l for each in done),
            "coverage": fmean(each[way].scores.coverage for each in done),
            **{
                name: fmean(getattr(each[way], name) for each in done)
                for name in ("calls", "tokens", "cost", "seconds")
            },
            "words": fmean(len(each[way].text.split()) for each in done),
        }
        for way in ("truncated", *CHAINS)
    }


def kept(file: Path | None) -> dict[str, dict[str, Summary]]:
    """What an earlier run, of the same model, has left in its file, by paper."""
    if file is None or not file.exists():
        return {}
    return msgspec.json.decode(file.read_bytes(), type=dict[str, dict[str, Summary]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--papers", type=int, default=8)
    parser.add_argument("--upstream")
    parser.add_argument("--upstream-keys", type=Path)
    parser.add_argument("--upstream-model", default="")
    parser.add_argument(
        "--out",
        type=Path,
        help="keep every summary in this JSON file; the papers that it holds already are not run",
    )
    options = parser.parse_args()
    model = None
    if options.upstream:
        keys = tuple(options.upstream_keys.read_text().split())
        model = Model(options.upstream, options.upstream_model, keys)
    scorer, failed = Scorer(), []
    done = kept(options.out)
    with network(model) as net:
        for paper in papers(CACHE)[: options.papers]:
            if paper.id in done:
                continue
            try:
                done[paper.id] = summaries(net, paper, scorer)
            except (subprocess.CalledProcessError, TooLong) as error:
                failed.append({"paper": paper.id, "why": type(error).__name__})
            print(f"{paper.id}: {len(done)} done, {len(failed)} failed", file=sys.stderr)
            if options.out:
                options.out.write_bytes(msgspec.json.format(msgspec.json.encode(done)))
    if len(done) < 2:
        raise SystemExit(f"too few papers to compare: {failed}")
    report = {
        "model": options.upstream_model or "smollm2-135m-instruct",
        "papers": len(done),
        "failed": failed,
        "load": os.getloadavg(),
        "ways": means(list(done.values())),
        "hypotheses": verdicts(list(done.values())),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
