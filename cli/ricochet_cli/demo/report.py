"""What the demo prints: one JSON object, or the overview and the table of who got what."""

from dataclasses import dataclass

from ricochet_cli.console import table
from ricochet_cli.language import t
from ricochet_protocol.money import Units, dollars


@dataclass(frozen=True)
class NodeLine:
    """One node: calls and tokens from signed receipts, money from the chain."""

    name: str
    operator: str
    peer: str
    calls: int
    tokens_in: int
    tokens_out: int
    earned: Units
    withdrawn: Units
    first_token: float | None


@dataclass(frozen=True)
class Report:
    """Everything the demo found out; amounts in the token's smallest unit, times in seconds."""

    nodes: tuple[NodeLine, ...]
    commission: Units
    paid: Units
    spent: Units
    cost: Units
    """Of the run's answers."""
    budget_left: Units
    run: dict[str, object]
    served_by: str
    """The user's own model and where it is; "" for the small one that the demo brings."""
    rpc: str
    contract: str
    token: str
    accounted: bool
    discrepancies: tuple[str, ...]
    timings: dict[str, float]
    output: str

    @property
    def ahead(self) -> Units:
        """What was paid for text that did not come: steps, and calls that broke off."""
        return Units(self.spent - self.cost)

    def document(self) -> dict[str, object]:
        """The object that `--json` prints."""
        return {
            "nodes": [
                {
                    "name": node.name,
                    "operator": node.operator,
                    "peer": node.peer,
                    "calls": node.calls,
                    "tokens_in": node.tokens_in,
                    "tokens_out": node.tokens_out,
                    "earned": node.earned,
                    "withdrawn": node.withdrawn,
                }
                for node in self.nodes
            ],
            "platform": {"commission": self.commission},
            "subscriber": {
                "paid": self.paid,
                "spent": self.spent,
                "ahead": self.ahead,
                "budget_left": self.budget_left,
            },
            "run": self.run,
            "chain": {"rpc": self.rpc, "contract": self.contract, "token": self.token},
            "accounted": self.accounted,
            "timings": self.timings,
            "output": self.output,
        }

    def text(self) -> str:
        """The same for a person."""
        return "\n\n".join(
            [
                self.output,
                self._author_line(),
                self._node_table(),
                t(
                    "platform    commission {commission}\nsubscriber  paid {paid}, spent "
                    "{spent}, left {budget_left}\n            of it {ahead} ahead of "
                    "answers: rests of steps, and calls that broke off",
                    commission=dollars(self.commission),
                    paid=dollars(self.paid),
                    spent=dollars(self.spent),
                    budget_left=dollars(self.budget_left),
                    ahead=dollars(self.ahead),
                ),
                self._account_line(),
                "time        "
                + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.timings.items()),
            ]
        )

    def _author_line(self) -> str:
        if self.served_by:
            return t("(Written by {model}.)", model=self.served_by)
        return t(
            "(Written by a model of 135M parameters: it stays on topic, repeats itself and "
            "invents things.)"
        )

    def _node_table(self) -> str:
        rows = [
            (
                node.name,
                str(node.calls),
                f"{node.tokens_in:,}",
                f"{node.tokens_out:,}",
                "-" if node.first_token is None else f"{node.first_token:.2f}",
                dollars(node.earned),
                dollars(node.withdrawn),
            )
            for node in self.nodes
        ]
        headers = (
            "node",
            "calls",
            t("tokens in"),
            t("tokens out"),
            t("first token s"),
            "earned",
            "withdrawn",
        )
        return table(headers, rows)

    def _account_line(self) -> str:
        if not self.accounted:
            return t("NOT accounted for: ") + "; ".join(self.discrepancies)
        earned = sum(node.earned for node in self.nodes)
        return t(
            "Every unit is accounted for on the chain: {paid:,} paid = {earned:,} "
            "to key owners + {commission:,} commission + {budget_left:,} left.",
            paid=self.paid,
            earned=earned,
            commission=self.commission,
            budget_left=self.budget_left,
        )
