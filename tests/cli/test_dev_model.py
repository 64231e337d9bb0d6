"""The default model itself: real weights, a real server, and a key that it insists on."""

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live import start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of the model server; the weights are fetched when this machine has none yet."""
    keys = tmp_path_factory.mktemp("model") / "keys"
    keys.write_text("first-key\nsecond-key\n")
    process = start("dev", "model", "--keys-file", str(keys))
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    try:
        assert url.startswith("http://127.0.0.1:"), process.communicate(timeout=20)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
    assert process.returncode == 0, log


def complete(url: str, key: str, prompt: str) -> Any:
    request = urllib.request.Request(
        f"{url}/chat/completions",
        data=json.dumps(
            {"model": "any", "messages": [{"role": "user", "content": prompt}], "max_tokens": 12}
        ).encode(),
        headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def test_it_answers_each_owner(model: str) -> None:
    for key in ("first-key", "second-key"):
        answer = complete(model, key, "Name a colour.")
        assert answer["choices"][0]["message"]["content"].strip()
        assert answer["usage"]["completion_tokens"] <= 12


def test_it_refuses_strangers(model: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised:
        complete(model, "other-key", "Name a colour.")
    assert raised.value.code == 401
    raised.value.close()


def test_it_refuses_prompts_beyond_its_window(model: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised:
        complete(model, "first-key", "word " * 4_000)
    assert raised.value.code == 400
    assert "context" in raised.value.read().decode()
    raised.value.close()


def test_a_missing_key_file(tmp_path: Path) -> None:
    process = start("dev", "model", "--keys-file", str(tmp_path / "none"))
    _, log = process.communicate(timeout=20)
    assert process.returncode == 2 and "does not exist" in log
