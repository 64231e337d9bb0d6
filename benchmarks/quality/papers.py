"""Papers and what experts say of them: ACLSum's 250, from its wheel on the Python package index.

ACLSum (Takeshita et al., 2024; MIT licence): for each paper of the ACL Anthology one sentence each
on its challenge, its approach and its outcome, written by annotators. The wheel also carries the
papers' full texts as parsed by S2ORC. Only its files are used; nothing of it is imported.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Final

import msgspec

WHEEL: Final = "aclsum==0.1.2"
ASPECTS: Final = ("challenge", "approach", "outcome")
_SPLIT: Final = "aclsum/dataset/test.jsonl"


class Paper(msgspec.Struct, frozen=True):
    """`text` is title, headings and paragraphs, without bibliography; `summaries` by aspect."""

    id: str
    text: str
    summaries: dict[str, str]

    @property
    def reference(self) -> str:
        """All that the annotators wrote."""
        return " ".join(self.summaries[aspect] for aspect in ASPECTS)


def papers(folder: Path) -> list[Paper]:
    """The test split, in order of id; the wheel is fetched into `folder` if it is not there."""
    with zipfile.ZipFile(_wheel(folder)) as wheel:
        rows = [json.loads(line) for line in wheel.read(_SPLIT).decode().splitlines()]
        found = [
            Paper(
                id=row["id"],
                text=_text(json.loads(wheel.read(f"aclsum/dataset/paper_jsons/{row['id']}.json"))),
                summaries={aspect: row["summary"][aspect] for aspect in ASPECTS},
            )
            for row in rows
        ]
    return sorted(found, key=lambda paper: paper.id)


def _wheel(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if not (found := sorted(folder.glob("aclsum-*.whl"))):
        command = ("-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL)
        subprocess.run([sys.executable, *command], check=True, timeout=300)
        found = sorted(folder.glob("aclsum-*.whl"))
    return found[0]


def _text(parsed: dict[str, Any]) -> str:
    parts = [parsed["title"], *(part["text"] for part in parsed["pdf_parse"]["abstract"])]
    heading = ""
    for part in parsed["pdf_parse"]["body_text"]:
        if part["section"] != heading:
            heading = part["section"]
            parts.append(f"# {heading}")
        parts.append(part["text"])
    return "\n\n".join(parts)
