"""What a subscriber takes back: the rest of ended periods, and refundable money.

Closing a period turns its unspent budget into refundable money, once nodes have had their time to
claim. Refundable money pays for the next subscription first, or is taken to the wallet.
"""

from web3 import Web3

from ricochet_protocol.errors import UsageError
from ricochet_protocol.ids import Period
from ricochet_protocol.money import Units
from ricochet_settlement.deployment import Deployment
from ricochet_settlement.reading import events_of
from ricochet_settlement.sender import IN_MEMORY, Outbox, writing
from ricochet_settlement.standing import Standing, read_standing


async def close_periods(
    deployment: Deployment, key: bytes, *, outbox: Outbox = IN_MEMORY
) -> tuple[tuple[Period, Units], ...]:
    """Close every period of the wallet that can be closed; what each made refundable.

    BudgetError `no_gas_money`; ChainError.
    """
    async with writing(deployment, key, outbox) as (network, sender):
        account = Web3.to_checksum_address(sender.account)
        closed = []
        for period in (await read_standing(network, sender.account)).closable:
            data = network.ricochet.encode_abi("close", [account, period])
            receipt = await sender.send(
                deployment.contract, bytes.fromhex(data[2:]), label=f"close period {period}"
            )
            for event in events_of(network, receipt, ["Closed"]):
                closed.append((period, Units(event["args"]["refundable"])))
        return tuple(closed)


async def refund(deployment: Deployment, key: bytes, *, outbox: Outbox = IN_MEMORY) -> Units:
    """Take all refundable money to the wallet; how much it was.

    UsageError `nothing_to_refund`; BudgetError `no_gas_money`; ChainError.
    """
    async with writing(deployment, key, outbox) as (network, sender):
        state = await read_standing(network, sender.account)
        if not state.refundable:
            raise UsageError("nothing_to_refund", "nothing is refundable now", _when(state))
        data = network.ricochet.encode_abi("refund", [])
        receipt = await sender.send(deployment.contract, bytes.fromhex(data[2:]), label="refund")
        events = events_of(network, receipt, ["Refunded"])
        return Units(sum(event["args"]["amount"] for event in events))


def _when(state: Standing) -> str:
    if state.closable:
        return "Run `ricochet subscription close` first: an ended period can be closed."
    return (
        "Unspent budget becomes refundable when its period is closed: "
        "`ricochet subscription close`, a week after the period's end."
    )
