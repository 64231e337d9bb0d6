import hashlib
import importlib.util
from base64 import b64decode
from pathlib import Path
from pydoc_data.topics import topics
from random import Random

import pytest
import tiktoken
from tiktoken.model import MODEL_PREFIX_TO_ENCODING, MODEL_TO_ENCODING

from ricochet_orchestrator.tokenizers import O200K, OURS, UNKNOWN, margin
from ricochet_protocol.ids import ModelId
from ricochet_protocol.tokens import count_tokens

ROOT = Path(__file__).resolve().parents[2]
# litellm's wheel carries the table; name (SHA-1 of its address), hash and pattern are tiktoken's.
TABLE = "litellm_core_utils/tokenizers/fb374d419588a4632f3f557e76b4b70aebbca790"
SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
PATTERN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{ENDINGS}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.fixture(scope="module")
def o200k() -> tiktoken.Encoding:
    spec = importlib.util.find_spec("litellm")
    assert spec is not None and spec.submodule_search_locations
    data = (Path(spec.submodule_search_locations[0]) / TABLE).read_bytes()
    assert hashlib.sha256(data).hexdigest() == SHA256
    ranks = {b64decode(token): int(rank) for token, rank in map(bytes.split, data.splitlines())}
    return tiktoken.Encoding("o200k", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})


def texts() -> dict[str, str]:
    random = Random(1)
    english = " ".join(list(topics.values())[:20])
    code = "".join(path.read_text("utf-8") for path in sorted((ROOT / "protocol").rglob("*.py")))
    return {
        "english": english,
        "capitals": english.upper(),
        "camel case": "".join(word.capitalize() for word in english.split()),
        "code": code,
        "solidity": (ROOT / "contracts/Ricochet.sol").read_text("utf-8"),
        "json": (ROOT / "package-lock.json").read_text("utf-8"),
        "letters": "".join(chr(random.randrange(97, 123)) for _ in range(20_000)),
        "punctuation": "".join(chr(random.randrange(32, 65)) for _ in range(20_000)),
        "chinese": "".join(chr(random.randrange(0x4E00, 0x9FFF)) for _ in range(20_000)),
        "anything": "".join(chr(random.randrange(32, 0xD800)) for _ in range(20_000)),
    }


def test_the_newer_table_stays_within_its_margin(o200k: tiktoken.Encoding) -> None:
    for kind, text in texts().items():
        for part in (text[at : at + 2_000] for at in range(0, len(text), 2_000)):
            assert len(o200k.encode_ordinary(part)) * 100 <= count_tokens(part) * O200K, kind


def test_models_are_matched_as_tiktoken_matches_them() -> None:
    expected = {"cl100k_base": OURS, "o200k_base": O200K, "o200k_harmony": O200K}
    names = MODEL_TO_ENCODING | {
        f"{prefix}2026": name for prefix, name in MODEL_PREFIX_TO_ENCODING.items()
    }
    for model, encoding in names.items():
        if model.startswith(("gpt-", "o1", "o3", "o4", "chatgpt-")) and encoding in expected:
            assert margin(ModelId(model)) in (expected[encoding], UNKNOWN), model
            assert margin(ModelId(f"openai/{model}")) == margin(ModelId(model))
    assert margin(ModelId("gpt-4")) == margin(ModelId("gpt-4-turbo")) == OURS
    assert margin(ModelId("gpt-4o-mini")) == margin(ModelId("gpt-5.2")) == O200K


@pytest.mark.parametrize(
    "name", ["gpt-2", "gpt-45", "o10", "llama-3", "qwen2.5-0.5b", "my-gpt-4", "gpt-4.9"]
)
def test_an_unknown_model_gets_the_widest_bound(name: str) -> None:
    assert margin(ModelId(name)) == UNKNOWN == 200
