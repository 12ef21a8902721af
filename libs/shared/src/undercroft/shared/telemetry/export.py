"""Sending spans and metrics to an OTLP collector over HTTP. Imported only where an endpoint is set: it costs 0.2 s."""

import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import (
    MetricExportResult,
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)
from typing_extensions import override

from undercroft.shared.telemetry.trace_context import TraceContext

_SCOPE: Final = "undercroft"
# A collector that answers later than this is away; nothing waits for it but the exporting threads.
_EXPORT_TIMEOUT_SECONDS: Final = 5.0

_given: ContextVar[TraceContext | None] = ContextVar("undercroft_given_span", default=None)


class _GivenIds(RandomIdGenerator):
    """Ids of the trace context whose span is being recorded, random ones for any other span."""

    @override
    def generate_span_id(self) -> int:
        given = _given.get()
        return int(given.span_id, 16) if given else super().generate_span_id()

    @override
    def generate_trace_id(self) -> int:
        given = _given.get()
        return int(given.trace_id, 16) if given else super().generate_trace_id()


class _CompletingExporter(OTLPMetricExporter):
    """Adds what is measured outside the SDK to what the SDK has collected."""

    complete: Callable[[MetricsData], MetricsData] | None = None

    @override
    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        completed = self.complete(metrics_data) if self.complete else metrics_data
        return super().export(completed, timeout_millis=timeout_millis, **kwargs)


class OtlpExport:
    """The exporting half of one application's telemetry; its threads run until `shutdown`.

    A `metric_reader` of the caller's own sees the SDK's metrics alone.
    """

    def __init__(
        self,
        resource: Resource,
        *,
        endpoint: str,
        span_processor: SpanProcessor | None = None,
        metric_reader: MetricReader | None = None,
    ) -> None:
        base = endpoint.rstrip("/")
        self._metric_exporter = _CompletingExporter(f"{base}/v1/metrics", timeout=_EXPORT_TIMEOUT_SECONDS)
        self.metric_reader = metric_reader or PeriodicExportingMetricReader(self._metric_exporter)
        # Whether to sample was decided where the trace began; `Telemetry` drops the rest before it costs anything.
        self._provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=_GivenIds())
        self._provider.add_span_processor(
            span_processor
            or BatchSpanProcessor(OTLPSpanExporter(f"{base}/v1/traces", timeout=_EXPORT_TIMEOUT_SECONDS))
        )

    @property
    def tracer(self) -> Tracer:
        """The tracer of this application."""
        return self._provider.get_tracer(_SCOPE)

    def record(
        self,
        trace: TraceContext,
        *,
        name: str,
        kind: SpanKind,
        seconds: float,
        attributes: Mapping[str, str | int],
    ) -> None:
        """Record the span of a sampled trace context, which ends now and has failed if it has an `error.type`."""
        end = time.time_ns()
        token = _given.set(trace)
        try:
            span = self.tracer.start_span(
                name,
                context=_parent_of(trace),
                kind=kind,
                attributes=attributes,
                start_time=end - int(seconds * 1_000_000_000),
            )
        finally:
            _given.reset(token)
        if "error.type" in attributes:
            span.set_status(StatusCode.ERROR)
        span.end(end)

    def complete_metrics(self, complete: Callable[[MetricsData], MetricsData]) -> None:
        """Let `complete` add to the metrics, in the exporting thread, each time before they are sent."""
        self._metric_exporter.complete = complete

    def shutdown(self) -> None:
        """Send what is left and end the threads; it may take long where the collector is away."""
        self._provider.shutdown()
        self.metric_reader.shutdown()


def _parent_of(trace: TraceContext) -> Context:
    if trace.parent_span_id is None:
        return Context()
    parent = SpanContext(
        int(trace.trace_id, 16),
        int(trace.parent_span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([trace.trace_state]),
    )
    return set_span_in_context(NonRecordingSpan(parent), Context())
