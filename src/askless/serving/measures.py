"""What the server counts and times, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

DECISION_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
FORMAT = "text/plain; version=0.0.4; charset=utf-8"


class Measures:
    """Counters, histograms and gauges of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        of = self.registry
        self.decisions = Counter(
            "askless_decisions", "Decisions, by who should answer.", ["expert", "version"], registry=of
        )
        self.answers = Counter("askless_answers", "Answers given.", ["expert", "version", "reason"], registry=of)
        self.dollars = Counter("askless_dollars", "Dollars spent on answers.", ["expert", "version"], registry=of)
        self.tokens = Counter("askless_tokens", "Tokens of answers.", ["expert", "kind"], registry=of)
        self.decision = Histogram(
            "askless_decision_seconds", "From the text to who should answer.", buckets=DECISION_S, registry=of
        )
        self.request = Histogram("askless_request_seconds", "Of whole requests.", buckets=REQUEST_S, registry=of)
        self.errors = Counter("askless_errors", "Faults, by kind.", ["kind"], registry=of)
        self.feedback = Counter("askless_feedback", "Labels that came, by what became of them.", ["kind"], registry=of)
        self.shed = Counter("askless_shed", "Requests turned away at once.", registry=of)
        self.connections = Gauge("askless_connections", "Open connections.", registry=of)
        self.cut = Counter("askless_cut", "Connections cut, by what was waited for too long.", ["phase"], registry=of)
        self.in_flight = Gauge("askless_in_flight", "Requests being answered.", registry=of)
        self.log_rows = Counter("askless_log_rows", "Rows written to the log of decisions.", ["log"], registry=of)
        self.log_dropped = Counter("askless_log_dropped", "Rows that no log has.", ["log"], registry=of)
        self.shadow = Counter("askless_shadow", "Decisions of the challenger.", ["expert", "version"], registry=of)
        self.shadow_dropped = Counter(
            "askless_shadow_dropped", "Shadow decisions not made for want of time.", registry=of
        )
        self.loads = Counter("askless_loads", "Versions loaded, or not.", ["role", "outcome"], registry=of)
        self.version = Gauge(
            "askless_version_info", "The version in service.", ["role", "model", "version"], registry=of
        )
        self.left = Gauge("askless_spend_left_dollars", "What is left of the spend limit of the day.", registry=of)

    def serves(self, role: str, model: str, version: str) -> None:
        """A version is in service, and no other in this role."""
        for labels in [each.labels for metric in self.version.collect() for each in metric.samples]:
            if labels["role"] == role:
                self.version.remove(labels["role"], labels["model"], labels["version"])
        self.version.labels(role, model, version).set(1)

    def watches(self, left: Callable[[], float]) -> None:
        """Where what is left of the spend limit is read off."""
        self.left.set_function(left)

    def page(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self.registry)
