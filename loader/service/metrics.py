"""What Prometheus is told. Labels have few values: routes as they are declared, states, kinds."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "labmart_http_requests",
            "Requests that were answered.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "labmart_http_request_seconds",
            "How long they took.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.uploaded = Counter(
            "labmart_uploaded_bytes", "Bytes of accepted uploads.", registry=self._registry
        )
        self.uploading = Gauge(
            "labmart_uploads_in_progress", "Uploads under way.", registry=self._registry
        )
        self.jobs = Gauge(
            "labmart_jobs", "Jobs by kind and state.", ("kind", "state"), registry=self._registry
        )
        self.worker = Gauge(
            "labmart_worker_up", "Whether a worker gives signs of life.", registry=self._registry
        )

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)
