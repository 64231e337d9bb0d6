"""What `ricochet demo --json` reports: its shape, and that its money adds up."""

from typing import Any

SHAPE = {
    "nodes": list,
    "platform": {"commission": int},
    "subscriber": {"paid": int, "spent": int, "ahead": int, "budget_left": int},
    "run": {
        "id": str,
        "steps": int,
        "calls": int,
        "tokens_in": int,
        "tokens_out": int,
        "cost": int,
        "seconds": float,
    },
    "chain": {"rpc": str, "contract": str, "token": str},
    "accounted": bool,
    "timings": dict,
    "output": str,
}
NODE = {
    "name": str,
    "operator": str,
    "peer": str,
    "calls": int,
    "tokens_in": int,
    "tokens_out": int,
    "earned": int,
    "withdrawn": int,
}


def has_shape(value: Any, shape: Any) -> bool:
    if isinstance(shape, dict):
        return set(value) >= set(shape) and all(has_shape(value[k], shape[k]) for k in shape)
    return isinstance(value, shape)


def check_money(report: dict[str, Any]) -> None:
    assert report["accounted"] is True
    nodes, subscriber = report["nodes"], report["subscriber"]
    earned = sum(node["earned"] for node in nodes)
    assert subscriber["paid"] == 10_000_000
    assert subscriber["spent"] == earned + report["platform"]["commission"] > 0
    assert subscriber["paid"] == subscriber["spent"] + subscriber["budget_left"]
    assert subscriber["ahead"] == subscriber["spent"] - report["run"]["cost"] >= 0
    for node in nodes:
        assert node["withdrawn"] == node["earned"] > 0
        assert node["calls"] > 0
