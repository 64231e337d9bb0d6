"""The node's figures for Prometheus: counted as requests end, read from the node when scraped.

The endpoint is `GET /metrics` on the address that node.yaml names (`metrics: 127.0.0.1:9464`), off
by default. It has no password: models, key ids, money and load are in it, so keep it on loopback or
behind your own proxy. Subscribers are not labels: their number has no bound.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from ricochet_node.plain_server import PlainServer
from ricochet_node.request_log import RequestRecord
from ricochet_protocol.errors import LocalFault

_SECONDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""From a cached answer to the longest deadline."""
_GAUGES: Final[Mapping[str, str]] = {
    "open_calls": "Calls being served now",
    "peers_known": "Peers in the directory, this one included",
    "peers_connected": "Peers that there is a connection to",
    "earned": "The owner's share of all vouchers held, in units",
    "unclaimed": "Vouchered and not claimed on the chain yet, in units",
}
"""Fields of the node's status that are shown as they are."""


class Metrics:
    """One registry of its own; `status` gives the node's status when scraped."""

    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Status(status))
        self._requests = self._counter("requests", "Requests by outcome", "model", "key", "outcome")
        self._tokens = self._counter("tokens", "Tokens of answers", "model", "direction")
        self._income = self._counter("income_units", "Charged, before commission", "model")
        self._cost = self._counter("upstream_cost_units", "What providers ask", "model", "key")
        self._risk = self._counter(
            "upstream_risk_units", "What providers may ask beyond it for cut calls", "model", "key"
        )
        self._seconds = Histogram(
            "ricochet_request_seconds",
            "Time of answered requests",
            ("model",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._first = Histogram(
            "ricochet_first_token_seconds",
            "Time to the first token",
            ("model",),
            buckets=_SECONDS,
            registry=self._registry,
        )

    def count(self, record: RequestRecord) -> None:
        """Take up one request that has ended."""
        model, key = record.model, record.key
        self._requests.labels(model, key, record.outcome).inc()
        if record.upstream_cost:
            self._cost.labels(model, key).inc(record.upstream_cost)
        if record.upstream_risk:
            self._risk.labels(model, key).inc(record.upstream_risk)
        if record.income and not record.replayed:
            self._income.labels(model).inc(record.income)
        if record.outcome != "ok" or record.replayed:
            return
        self._tokens.labels(model, "in").inc(record.tokens_in)
        self._tokens.labels(model, "out").inc(record.tokens_out)
        self._seconds.labels(model).observe(record.ms / 1000)
        if record.first_token_ms is not None:
            self._first.labels(model).observe(record.first_token_ms / 1000)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)

    @asynccontextmanager
    async def served(self, host: str, port: int) -> AsyncIterator[str]:
        """The endpoint's URL while the context lasts; LocalFault `port_in_use`."""
        runner = web.ServerRunner(PlainServer(self._answer, _refuse))
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                raise LocalFault(
                    "port_in_use",
                    f"the metrics cannot be served at {host}:{port}: {error.strerror}",
                    "choose another `metrics` address in node.yaml",
                ) from None
            bound = runner.addresses[0]
            yield f"http://{bound[0]}:{bound[1]}/metrics"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if (request.method, request.path) != ("GET", "/metrics"):
            return _refuse(404, "only GET /metrics is served")
        return web.Response(body=self.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"ricochet_{name}", what, labels, registry=self._registry)


def _refuse(status: int, message: str) -> web.Response:
    return web.Response(status=status, text=f"{message}\n")


class _Status(Collector):
    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        self._status = status

    def collect(self) -> Iterable[GaugeMetricFamily]:
        status = self._status()
        for name, what in _GAUGES.items():
            yield GaugeMetricFamily(f"ricochet_{name}", what, value=status[name])
        offered = GaugeMetricFamily("ricochet_offered", "1 while offered", labels=("model",))
        for model in status["models"]:
            offered.add_metric((model["model"],), int(model["offered"]))
        yield offered
