"""The default model behind an OpenAI-compatible server on loopback, with one API key per owner.

llama.cpp runs inside this process (xllamacpp). The settings are for two cores: three slots share
the context, batches are small so that one long prompt does not hold up the others' tokens, and the
repetition penalty keeps a model this small from looping. Its text varies with the slots in use.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ricochet_node.weights import MODEL_NAME
from ricochet_protocol.errors import LocalFault

CONTEXT: Final = 2304
"""Tokens a slot holds: a segment of 1,400 tokens, the prompt around it and the answer."""
SLOTS: Final = 3
THREADS: Final = 2
_BATCH: Final = 256
_REPEAT_PENALTY: Final = 1.1
_QUIET: Final = -1


def serve(
    weights: Path,
    api_keys: Sequence[str],
    port: int,
    ready: Callable[[str], None],
    stop: threading.Event,
) -> None:
    """Serve until `stop` is set; `ready` gets the base URL once requests are accepted.

    `port` 0 takes a free one. LocalFault `port_in_use` or `model_failed` when it cannot start.
    """
    import xllamacpp  # type: ignore[import-untyped]  # ships no stubs

    if not api_keys:
        raise ValueError("the model server needs at least one API key")
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {MODEL_NAME}
    params.api_keys = list(api_keys)
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = SLOTS
    params.n_ctx = CONTEXT * SLOTS
    params.n_batch = params.n_ubatch = _BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.fit_params = False
    params.sampling.temp = 0.0
    params.sampling.penalty_repeat = _REPEAT_PENALTY
    params.verbosity = _QUIET
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        code = "port_in_use" if port else "model_failed"
        raise LocalFault(
            code,
            f"the local model cannot start on port {port}: {error}",
            "choose another --port (0 takes a free one), or free memory (it needs about 350 MB)",
        ) from error
    ready(f"{server.listening_address}/v1")
    stop.wait()
