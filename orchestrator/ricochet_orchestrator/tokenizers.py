"""How many tokens a model makes of what we count: the margin of its window, by model id.

Buyer and seller count with cl100k (`ricochet_protocol.tokens`), and a node refuses a prompt that is
too long by that count, so a second count could only make prompts shorter. What differs by model is
how far its own tokenizer may go beyond ours, as a percentage that a window is divided by. A model
that is not known here gets the widest bound that a bill may reach.

Measured with o200k's own table (`tests/orchestrator/test_tokenizers.py`): 1.00 to 1.02 times ours
for English, Markdown, Python, JSON and Solidity, 0.72 for Russian, 0.82 for Chinese, at most 1.06
for any 2,000 characters of them, 1.15 for tokens drawn at random. Only text made of long camelCase
identifiers that cl100k happens to know goes beyond the bound, and is refused by the provider.
"""

import re
from typing import Final

from ricochet_protocol.ids import ModelId
from ricochet_protocol.usage import TOLERANCE_PERCENT

OURS: Final = 100
O200K: Final = 120
UNKNOWN: Final = TOLERANCE_PERCENT

# Which models have which tokenizer: tiktoken's own table of models (tiktoken/model.py).
_KNOWN: Final = (
    (
        re.compile(r"(gpt-4o|gpt-4\.1|gpt-4\.5|gpt-5|gpt-oss|chatgpt-4o|o1|o3|o4)(?![a-z0-9])"),
        O200K,
    ),
    (re.compile(r"(gpt-4|gpt-3\.5-turbo)(?![a-z0-9.])"), OURS),
)


def margin(model: ModelId) -> int:
    """The most tokens that the model makes of 100 of ours; a prefix like `openai/` is skipped."""
    name = model.rpartition("/")[2]
    for pattern, percent in _KNOWN:
        if pattern.match(name):
            return percent
    return UNKNOWN
