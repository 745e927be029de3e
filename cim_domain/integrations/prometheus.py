"""What a service does, as metrics for Prometheus. Needs the extra `prometheus`.

    metrics = PrometheusObserver(domain)
    async with Service(domain, load_settings(), observer=metrics):
        with metrics.served(port=9400):
            await stop.wait()

Labels have few values: a message type that the domain does not have counts as ``unknown``, and a
code of an error beyond the first `CODES` as ``other``.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from cim_domain.command_queue.status_requests import CancelCommand, GetCommandStatus
from cim_domain.dead_letters import DeadLetter
from cim_domain.integrations.http_pages import Page, http_pages
from cim_domain.integrations.probes import Probes
from cim_domain.model.domain import Domain
from cim_domain.projections.status import ProjectionStatus, RunnerState
from cim_domain.wire.outcome import Outcome

CODES = 200
"""So many codes of errors are told apart."""

UNKNOWN = "unknown"
OTHER = "other"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class PrometheusObserver:
    """An `Observer` that counts. `registry` is its own unless one is given."""

    def __init__(self, domain: Domain, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._domain = domain.name
        self._commands_known = {*domain.commands, CancelCommand.message_type}
        self._queries_known = {*domain.queries, GetCommandStatus.message_type}
        self._codes: set[str] = set()
        self._commands = self._counter(
            "cim_domain_commands", "Commands carried out or refused.", "type", "status", "code"
        )
        self._command_seconds = self._histogram(
            "cim_domain_command_seconds", "How long commands took.", "type"
        )
        self._rejections = self._counter(
            "cim_domain_process_rejections",
            "Commands of processes that were rejected.",
            "process",
            "code",
        )
        self._queries = self._counter("cim_domain_queries", "Queries answered.", "type", "code")
        self._query_seconds = self._histogram(
            "cim_domain_query_seconds", "How long queries took.", "type"
        )
        self._letters = self._counter(
            "cim_domain_dead_letters", "Messages put among the dead letters.", "consumer", "code"
        )
        self._refused_letters = self._counter(
            "cim_domain_dead_letters_refused",
            "Messages for which there was no room among the dead letters.",
            "consumer",
            "code",
        )
        self._position = self._gauge(
            "cim_domain_projection_position", "The last event of the log that was taken in."
        )
        self._lag = self._gauge(
            "cim_domain_projection_lag_events",
            "Events of the log not taken in yet, when last read.",
        )
        self._state = self._gauge(
            "cim_domain_projection_state", "1 for the state that it is in, else 0.", "state"
        )

    def command(self, message_type: str, outcome: Outcome, seconds: float) -> None:
        """See `Observer`."""
        known = message_type if message_type in self._commands_known else UNKNOWN
        code = self._code(outcome.error.code if outcome.error else None)
        self._commands.labels(self._domain, known, outcome.status, code).inc()
        self._command_seconds.labels(self._domain, known).observe(seconds)

    def rejection(self, process: str, code: str) -> None:
        """See `Observer`."""
        self._rejections.labels(self._domain, process, self._code(code)).inc()

    def query(self, message_type: str, error: str | None, seconds: float) -> None:
        """See `Observer`."""
        known = message_type if message_type in self._queries_known else UNKNOWN
        self._queries.labels(self._domain, known, self._code(error)).inc()
        self._query_seconds.labels(self._domain, known).observe(seconds)

    def projection(self, status: ProjectionStatus) -> None:
        """See `Observer`."""
        self._position.labels(self._domain, status.name).set(status.position)
        self._lag.labels(self._domain, status.name).set(status.lag)
        for state in RunnerState:
            self._state.labels(self._domain, status.name, state).set(state is status.state)

    def dead_letter(self, letter: DeadLetter) -> None:
        """See `Observer`."""
        self._letters.labels(self._domain, letter.consumer, self._code(letter.code)).inc()

    def dead_letter_refused(self, letter: DeadLetter) -> None:
        """See `Observer`."""
        code = self._code(letter.code)
        self._refused_letters.labels(self._domain, letter.consumer, code).inc()

    @contextmanager
    def served(
        self, port: int, host: str = "127.0.0.1", probes: Probes | None = None
    ) -> Iterator[int]:
        """Give the metrics out at ``http://HOST:PORT/metrics``, port 0 for any; gives the port.

        With `probes` there are ``/livez`` and ``/readyz`` as well. Whoever reaches the port may
        read them. Raises `OSError` where it cannot be had.
        """
        pages = {**(probes.pages if probes else {}), "/metrics": self._page}
        with http_pages(host, port, pages) as bound:
            yield bound

    def _page(self) -> Page:
        return Page(generate_latest(self.registry), content_type=CONTENT_TYPE_LATEST)

    def _code(self, code: str | None) -> str:
        """The code as a label; empty where there is none."""
        if code is None:
            return ""
        if code not in self._codes and len(self._codes) >= CODES:
            return OTHER
        self._codes.add(code)
        return code

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, ("domain", *labels), registry=self.registry)

    def _histogram(self, name: str, help_text: str, *labels: str) -> Histogram:
        return Histogram(
            name, help_text, ("domain", *labels), registry=self.registry, buckets=_SECONDS
        )

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, ("domain", "projection", *labels), registry=self.registry)
