"""The OpenTelemetry providers of one application and the instruments that every application has.

Nothing is global: several applications of one process each have their own `service.name`. Without an OTLP endpoint
nothing is exported, no span is made and the metrics wait for /metrics.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.trace import NoOpTracer, SpanKind, Tracer

from undercroft.shared.telemetry.durations import DurationHistogram, add_durations
from undercroft.shared.telemetry.prometheus import render_prometheus
from undercroft.shared.telemetry.trace_context import TraceContext

if TYPE_CHECKING:
    from undercroft.shared.telemetry.export import OtlpExport

GaugeReading = Iterable[tuple[float, Mapping[str, str]]]
# Method, template and status of a request; method, server and status of a call.
_RequestKey = tuple[str, str | None, int]
_CallKey = tuple[str, str, int | None]

_SCOPE: Final = "undercroft"
_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY"}
)
_CLIENT_ERROR: Final = 400
_SERVER_ERROR: Final = 500


class Telemetry:
    """Traces and metrics of one application: its tracer, its meter, its standard instruments."""

    def __init__(self, resource: Resource, *, export: "OtlpExport | None" = None) -> None:
        self._resource = resource
        self._export = export
        self._reader = InMemoryMetricReader()
        readers = [self._reader, export.metric_reader] if export else [self._reader]
        self._provider = MeterProvider(
            readers, resource, exemplar_filter=AlwaysOffExemplarFilter(), shutdown_on_exit=False
        )
        self.meter: Meter = self._provider.get_meter(_SCOPE)
        self.tracer: Tracer = export.tracer if export else NoOpTracer()
        self._gauges: dict[str, list[Callable[[], GaugeReading]]] = {}
        self._active_requests = 0
        self._server_duration = DurationHistogram[_RequestKey](
            "http.server.request.duration",
            description="Duration of HTTP server requests.",
            attributes=_request_attributes,
        )
        self._client_duration = DurationHistogram[_CallKey](
            "http.client.request.duration",
            description="Duration of HTTP client requests.",
            attributes=_call_attributes,
        )
        if export:
            export.complete_metrics(self._with_durations)
        self.meter.create_observable_up_down_counter(
            "http.server.active_requests",
            [lambda _: [Observation(self._active_requests)]],
            unit="{request}",
            description="Number of active HTTP server requests.",
        )

    @property
    def is_exporting(self) -> bool:
        """Whether spans and metrics leave this process."""
        return self._export is not None

    def begin_trace(self, headers: Iterable[tuple[bytes, bytes]]) -> TraceContext:
        """Return the span of a request that has just arrived; a trace that begins here is sampled if exported."""
        return TraceContext.parse(headers, sample_new=self.is_exporting)

    @contextmanager
    def active_request(self) -> Iterator[None]:
        """Count a request as active within the block."""
        self._active_requests += 1
        try:
            yield
        finally:
            self._active_requests -= 1

    def record_request(
        self,
        *,
        method: str,
        route: str | None,
        status: int,
        seconds: float,
        trace: TraceContext | None = None,
    ) -> None:
        """Record a request that this application has just answered; `route` is a template, None without a match."""
        known_method = method if method in _METHODS else "_OTHER"
        key = (known_method, route, status)
        self._server_duration.record(key, seconds)
        if self._export and trace and trace.is_sampled:
            name = f"{_span_method(known_method)} {route}" if route else _span_method(known_method)
            self._export.record(
                trace,
                name=name,
                kind=SpanKind.SERVER,
                seconds=seconds,
                attributes=_request_attributes(key),
            )

    def record_call(
        self,
        *,
        method: str,
        server: str,
        status: int | None,
        seconds: float,
        trace: TraceContext | None = None,
    ) -> None:
        """Record a request that this application has made of another server; `status` None means no answer."""
        known_method = method if method in _METHODS else "_OTHER"
        key = (known_method, server, status)
        self._client_duration.record(key, seconds)
        if self._export and trace and trace.is_sampled:
            name = _span_method(known_method)
            self._export.record(
                trace,
                name=name,
                kind=SpanKind.CLIENT,
                seconds=seconds,
                attributes=_call_attributes(key),
            )

    def add_gauge(
        self, name: str, read: Callable[[], GaugeReading], *, unit: str = "", description: str = ""
    ) -> None:
        """Show what `read` returns whenever the metrics are collected: values, each with its attributes.

        A name may be added several times, with different attributes; `unit` is a UCUM code such as `s` or `By`.
        """
        reads = self._gauges.setdefault(name, [])
        reads.append(read)
        if len(reads) > 1:
            return

        def observe(_options: CallbackOptions) -> Iterator[Observation]:
            for each in tuple(reads):
                for value, attributes in each():
                    yield Observation(value, attributes)

        self.meter.create_observable_gauge(name, [observe], unit=unit, description=description)

    def prometheus_text(self) -> bytes:
        """Render the metrics in Prometheus' text format 0.0.4."""
        collected = self._reader.get_metrics_data()
        return render_prometheus(collected and self._with_durations(collected), self._resource)

    def shutdown(self, *, timeout_seconds: float = 1.0) -> None:
        """Send what is left to the collector, if there is one, and stop exporting. Metrics can still be read."""
        export, self._export = self._export, None
        if export is None:
            return
        # In a thread: the exporters retry an absent collector beyond every timeout that they can be given.
        flush = threading.Thread(target=export.shutdown, name="otlp-flush", daemon=True)
        flush.start()
        flush.join(timeout_seconds)

    def _with_durations(self, collected: MetricsData) -> MetricsData:
        durations = (*self._server_duration.collect(), *self._client_duration.collect())
        return add_durations(collected, _SCOPE, durations)


def configure_telemetry(*, service_name: str, service_version: str, otlp_endpoint: str | None) -> Telemetry:
    """Make the telemetry of one application; without an endpoint nothing is exported.

    `OTEL_RESOURCE_ATTRIBUTES` is honoured. Exporting starts threads, which `Telemetry.shutdown` ends.
    """
    # No Resource.create(): it looks through the entry points of every installed package.
    resource = (
        OTELResourceDetector()
        .detect()
        .merge(
            Resource(
                {
                    "service.name": service_name,
                    "service.version": service_version,
                    "service.instance.id": str(uuid4()),
                }
            )
        )
    )
    if otlp_endpoint is None:
        return Telemetry(resource)
    from undercroft.shared.telemetry.export import OtlpExport

    return Telemetry(resource, export=OtlpExport(resource, endpoint=otlp_endpoint))


def _span_method(method: str) -> str:
    return "HTTP" if method == "_OTHER" else method


def _request_attributes(key: _RequestKey) -> dict[str, str | int]:
    method, route, status = key
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "http.response.status_code": status,
        "url.scheme": "http",
    }
    if route is not None:
        attributes["http.route"] = route
    if status >= _SERVER_ERROR:
        attributes["error.type"] = str(status)
    return attributes


def _call_attributes(key: _CallKey) -> dict[str, str | int]:
    method, server, status = key
    attributes: dict[str, str | int] = {"http.request.method": method, "server.address": server}
    if status is not None:
        attributes["http.response.status_code"] = status
    if status is None or status >= _CLIENT_ERROR:
        attributes["error.type"] = str(status or "_OTHER")
    return attributes
