"""A run before anybody works on it: how it is entered into the store, and read from it again.

A request whose run has not ended is that run, so that the same command line goes on with it.
"""

import secrets

from ricochet_orchestrator.chain_language import Chain
from ricochet_orchestrator.checkpoint import RunRecord, RunStatus
from ricochet_orchestrator.document import Document
from ricochet_orchestrator.request import Options, Request, request_for
from ricochet_orchestrator.store import Store
from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import ModelId


def enter(
    store: Store, document: Document, chain: Chain, options: Options, now: float
) -> tuple[RunRecord, bool]:
    """The run to work on for a request, and whether it was there already.

    A run of the same text, chain and model that has not ended is gone on with, with these options.
    """
    request = request_for(document, chain, options)
    earlier = store.unfinished(request.key)
    if earlier is not None and store.document(request.source) is not None:
        store.take_up(earlier.id, request)
        return earlier, True
    record = RunRecord(
        id=secrets.token_hex(4),
        key=request.key,
        document=document.name,
        chain=chain.name,
        model=options.model or ModelId(""),
        windows={},
        status=RunStatus.PENDING,
        created_at=now,
        outputs=(),
        digest=request.source,
    )
    store.enter(record, request, document)
    return record, False


def entered(store: Store, run_id: str) -> tuple[RunRecord, Request, Document]:
    """All that was stored of a run; UsageError when it cannot be gone on with."""
    record, request = store.run(run_id), store.request(run_id)
    document = None if request is None else store.document(request.source)
    if record is None or request is None or document is None:
        raise UsageError(
            "run_too_old",
            f"Run {run_id} was made by a version that kept no document with it.",
            "Give the document again: `ricochet chain run FILE`; answers that are stored count.",
        )
    return record, request, document
