"""Nodes go on working with a subscriber who has replaced his session key."""

from pathlib import Path

from orchestrator_stage import PAYER, SESSION_KEY, SUBSCRIBER, Stage, numbered, play

from ricochet_orchestrator.account import Payer
from ricochet_orchestrator.checkpoint import RunStatus
from ricochet_protocol.signing import account_address
from twins.settlement import DOMAIN

NEW = bytes([8]) * 32


def rotated(stage: Stage) -> None:
    stage.settlement.set_delegate(SUBSCRIBER, account_address(NEW))
    stage.payer = Payer(SUBSCRIBER, DOMAIN, NEW, frozenset({account_address(SESSION_KEY)}))


def test_a_node_that_holds_the_old_keys_voucher_is_paid_on_with_the_new_one(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path)
    node = stage.node(1)
    play(stage, numbered(1))
    before = stage.owed(node)
    assert node.voucher is not None and before > 0
    assert node.voucher.signer(DOMAIN) == account_address(PAYER.key)
    rotated(stage)
    assert play(stage, numbered(2)).status is RunStatus.COMPLETED
    assert node.voucher.signer(DOMAIN) == account_address(NEW)
    assert stage.owed(node) > before and stage.paid_fairly(node)


def test_a_voucher_that_never_arrived_is_sent_again_by_the_new_key(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    node = stage.node(1)
    document = numbered(1)
    play(stage, document)
    lost, node.voucher = node.voucher, None
    rotated(stage)
    play(stage, numbered(2))
    paid = [voucher for voucher in node.paid if voucher.voucher == lost.voucher]
    assert {voucher.signer(DOMAIN) for voucher in paid} == {
        account_address(SESSION_KEY),
        account_address(NEW),
    }
