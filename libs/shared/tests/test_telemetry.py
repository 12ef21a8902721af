import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.metrics import get_meter_provider
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_tracer_provider
from typing_extensions import override

from undercroft.shared.telemetry import Telemetry, TraceContext, configure_telemetry
from undercroft.shared.telemetry.export import OtlpExport

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
CALLER = [
    (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode()),
    (b"tracestate", b"vendor=1"),
]


class Collector(ThreadingHTTPServer):
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        self.posts: dict[str, list[bytes]] = {}
        super().__init__(("127.0.0.1", 0), CollectorHandler)


class CollectorHandler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.setdefault(self.path, []).append(body)
        self.send_response(200)
        self.end_headers()

    @override
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def telemetry() -> Telemetry:
    return configure_telemetry(service_name="flags", service_version="1.2.3", otlp_endpoint=None)


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def exporting(spans: InMemorySpanExporter) -> Telemetry:
    resource = Resource({"service.name": "flags"})
    export = OtlpExport(
        resource,
        endpoint="http://unused",
        span_processor=SimpleSpanProcessor(spans),
        metric_reader=InMemoryMetricReader(),
    )
    return Telemetry(resource, export=export)


def one(spans: InMemorySpanExporter) -> ReadableSpan:
    (span,) = spans.get_finished_spans()
    return span


def hexadecimal(number: int, digits: int) -> str:
    return f"{number:0{digits}x}"


def test_the_target_names_service_and_version(telemetry: Telemetry):
    text = telemetry.prometheus_text().decode()
    assert 'service_name="flags",service_version="1.2.3"} 1' in text


def test_resource_attributes_of_the_environment_are_added(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod,service.name=other")
    telemetry = configure_telemetry(service_name="flags", service_version="1", otlp_endpoint=None)
    text = telemetry.prometheus_text().decode()
    assert 'deployment_environment_name="prod"' in text
    assert 'service_name="flags"' in text


def test_applications_of_one_process_keep_apart_and_nothing_is_global(telemetry: Telemetry):
    other = configure_telemetry(service_name="identity", service_version="1", otlp_endpoint=None)
    telemetry.record_request(method="GET", route="/v1/flags", status=200, seconds=0.1)
    assert "/v1/flags" in telemetry.prometheus_text().decode()
    assert "/v1/flags" not in other.prometheus_text().decode()
    assert "sdk" not in type(get_meter_provider()).__module__
    assert "sdk" not in type(get_tracer_provider()).__module__


def test_a_request_is_measured_by_method_status_and_template(telemetry: Telemetry):
    telemetry.record_request(method="GET", route="/v1/flags/{flag}", status=200, seconds=0.02)
    labels = (
        'http_request_method="GET",http_response_status_code="200",'
        'http_route="/v1/flags/{flag}",url_scheme="http"'
    )
    text = telemetry.prometheus_text().decode()
    assert f'http_server_request_duration_seconds_bucket{{{labels},le="0.01"}} 0' in text
    assert f'http_server_request_duration_seconds_bucket{{{labels},le="0.025"}} 1' in text
    assert f"http_server_request_duration_seconds_sum{{{labels}}} 0.02" in text


def test_a_failure_of_the_server_has_an_error_type(telemetry: Telemetry):
    telemetry.record_request(method="GET", route=None, status=503, seconds=0.02)
    telemetry.record_request(method="GET", route=None, status=404, seconds=0.02)
    lines = [line for line in telemetry.prometheus_text().decode().splitlines() if "seconds_count" in line]
    assert any('error_type="503"' in line for line in lines)
    assert any('"404"' in line and "error_type" not in line and "http_route" not in line for line in lines)


def test_unknown_methods_share_one_series(telemetry: Telemetry):
    for method in ("BREW", "<script>"):
        telemetry.record_request(method=method, route=None, status=501, seconds=0.01)
    text = telemetry.prometheus_text().decode()
    assert 'http_request_method="_OTHER"' in text
    assert "BREW" not in text


def test_a_call_is_measured_by_server_and_outcome(telemetry: Telemetry):
    telemetry.record_call(method="POST", server="identity", status=200, seconds=0.01)
    telemetry.record_call(method="POST", server="identity", status=None, seconds=5)
    telemetry.record_call(method="POST", server="identity", status=404, seconds=0.01)
    counts = [line for line in telemetry.prometheus_text().decode().splitlines() if "_count{" in line]
    assert sorted(count.partition("{")[2] for count in counts) == [
        'error_type="404",http_request_method="POST",http_response_status_code="404",server_address="identity"} 1',
        'error_type="_OTHER",http_request_method="POST",server_address="identity"} 1',
        'http_request_method="POST",http_response_status_code="200",server_address="identity"} 1',
    ]


def test_active_requests_are_counted_also_when_they_fail(telemetry: Telemetry):
    with telemetry.active_request():
        assert b"http_server_active_requests 1\n" in telemetry.prometheus_text()
        with pytest.raises(OSError), telemetry.active_request():  # noqa: PT012 - read while both are active
            assert b"http_server_active_requests 2\n" in telemetry.prometheus_text()
            raise OSError
    assert b"http_server_active_requests 0\n" in telemetry.prometheus_text()


def test_a_gauge_is_read_when_the_metrics_are_collected(telemetry: Telemetry):
    used = [3.0]
    telemetry.add_gauge("db.pool.used", lambda: [(used[0], {"pool": "a"})], description="Connections.")
    telemetry.add_gauge("db.pool.used", lambda: [(1, {"pool": "b"}), (2, {"pool": "c"})])
    assert b'db_pool_used{pool="a"} 3.0\n' in telemetry.prometheus_text()
    used[0] = 4
    text = telemetry.prometheus_text().decode()
    assert 'db_pool_used{pool="a"} 4\ndb_pool_used{pool="b"} 1\ndb_pool_used{pool="c"} 2\n' in text
    assert "# HELP db_pool_used Connections." in text


def test_a_gauge_that_fails_leaves_the_rest_readable(telemetry: Telemetry):
    telemetry.add_gauge("broken", lambda: [(1 / 0, {})])
    telemetry.add_gauge("whole", lambda: [(1, {})])
    assert b"\nwhole 1\n" in telemetry.prometheus_text()


def test_without_an_endpoint_no_trace_is_sampled_and_no_span_made(telemetry: Telemetry):
    trace = telemetry.begin_trace([])
    assert not telemetry.is_exporting
    assert not trace.is_sampled
    assert not telemetry.tracer.start_span("x").is_recording()
    telemetry.record_request(method="GET", route=None, status=200, seconds=0.1, trace=trace)
    telemetry.record_call(method="GET", server="identity", status=200, seconds=0.1, trace=trace)


def test_a_request_becomes_the_span_of_its_trace_context(exporting: Telemetry, spans: InMemorySpanExporter):
    trace = exporting.begin_trace(CALLER)
    exporting.record_request(method="GET", route="/v1/flags", status=200, seconds=0.5, trace=trace)
    span = one(spans)
    assert (span.name, span.kind, span.status.status_code) == (
        "GET /v1/flags",
        SpanKind.SERVER,
        StatusCode.UNSET,
    )
    assert hexadecimal(span.context.trace_id, 32) == TRACE
    assert hexadecimal(span.context.span_id, 16) == trace.span_id
    assert span.parent is not None
    assert hexadecimal(span.parent.span_id, 16) == SPAN
    assert span.context.trace_state.to_header() == "vendor=1"
    assert span.end_time == (span.start_time or 0) + 500_000_000
    assert (span.attributes or {})["http.route"] == "/v1/flags"


def test_a_trace_that_begins_here_has_a_root_span(exporting: Telemetry, spans: InMemorySpanExporter):
    trace = exporting.begin_trace([])
    exporting.record_request(method="BREW", route=None, status=503, seconds=0.1, trace=trace)
    span = one(spans)
    assert (span.name, span.parent, span.status.status_code) == ("HTTP", None, StatusCode.ERROR)
    assert hexadecimal(span.context.trace_id, 32) == trace.trace_id
    assert hexadecimal(span.context.span_id, 16) == trace.span_id


def test_a_call_becomes_a_client_span_below_its_request(exporting: Telemetry, spans: InMemorySpanExporter):
    trace = exporting.begin_trace([])
    call = trace.child()
    exporting.record_call(method="POST", server="identity", status=404, seconds=0.1, trace=call)
    span = one(spans)
    assert (span.name, span.kind, span.status.status_code) == ("POST", SpanKind.CLIENT, StatusCode.ERROR)
    assert hexadecimal(span.context.span_id, 16) == call.span_id
    assert span.parent is not None
    assert hexadecimal(span.parent.span_id, 16) == trace.span_id


def test_an_unsampled_trace_is_not_exported(exporting: Telemetry, spans: InMemorySpanExporter):
    trace = exporting.begin_trace([(b"traceparent", f"00-{TRACE}-{SPAN}-00".encode())])
    exporting.record_request(method="GET", route=None, status=200, seconds=0.1, trace=trace)
    exporting.record_request(method="GET", route=None, status=200, seconds=0.1)
    exporting.record_call(method="GET", server="identity", status=200, seconds=0.1)
    assert spans.get_finished_spans() == ()


def test_spans_of_the_tracer_have_random_ids(exporting: Telemetry, spans: InMemorySpanExporter):
    for _ in range(2):
        exporting.tracer.start_span("own").end()
    first, second = spans.get_finished_spans()
    assert first.context.trace_id != second.context.trace_id
    assert first.context.span_id != second.context.span_id


def test_spans_and_metrics_reach_a_collector_by_the_time_of_shutdown(collector: Collector):
    telemetry = configure_telemetry(
        service_name="flags",
        service_version="1",
        otlp_endpoint=f"http://127.0.0.1:{collector.server_address[1]}/",
    )
    trace = TraceContext.new(is_sampled=True)
    telemetry.record_request(method="GET", route="/v1/flags", status=200, seconds=0.1, trace=trace)
    telemetry.shutdown(timeout_seconds=5)
    sent_spans = ExportTraceServiceRequest.FromString(collector.posts["/v1/traces"][0]).resource_spans[0]
    sent_metrics = ExportMetricsServiceRequest.FromString(collector.posts["/v1/metrics"][0]).resource_metrics[
        0
    ]
    assert sent_spans.scope_spans[0].spans[0].trace_id.hex() == trace.trace_id
    assert "http.server.request.duration" in [m.name for m in sent_metrics.scope_metrics[0].metrics]
    names = {a.value.string_value for a in sent_spans.resource.attributes if a.key == "service.name"}
    assert names == {"flags"}


def test_a_collector_receives_the_durations_as_histograms(collector: Collector):
    telemetry = configure_telemetry(
        service_name="flags",
        service_version="1",
        otlp_endpoint=f"http://127.0.0.1:{collector.server_address[1]}",
    )
    telemetry.record_request(method="GET", route="/v1/flags", status=200, seconds=0.1)
    telemetry.record_request(method="GET", route="/v1/flags", status=200, seconds=30)
    telemetry.record_call(method="POST", server="identity", status=None, seconds=5)
    telemetry.shutdown(timeout_seconds=5)
    sent = ExportMetricsServiceRequest.FromString(collector.posts["/v1/metrics"][0])
    (of_scope,) = sent.resource_metrics[0].scope_metrics
    metrics = {metric.name: metric for metric in of_scope.metrics}
    of_requests = metrics["http.server.request.duration"]
    (point,) = of_requests.histogram.data_points
    (call,) = metrics["http.client.request.duration"].histogram.data_points
    assert (of_scope.scope.name, of_requests.unit) == ("undercroft", "s")
    assert of_requests.histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    assert (point.count, point.sum, point.min, point.max) == (2, 30.1, 0.1, 30)
    assert list(point.bucket_counts) == [0, 0, 0, 0, 0, 1, *[0] * 8, 1]
    assert list(point.explicit_bounds) == [
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10
    ]  # fmt: skip
    assert {a.key: a.value.string_value or a.value.int_value for a in point.attributes} == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/v1/flags",
        "url.scheme": "http",
    }
    assert {a.key: a.value.string_value for a in call.attributes} == {
        "error.type": "_OTHER",
        "http.request.method": "POST",
        "server.address": "identity",
    }


def test_an_export_that_nobody_completes_sends_what_the_sdk_has(collector: Collector):
    resource = Resource({"service.name": "flags"})
    export = OtlpExport(resource, endpoint=f"http://127.0.0.1:{collector.server_address[1]}")
    provider = MeterProvider([export.metric_reader], resource, shutdown_on_exit=False)
    provider.get_meter("other").create_counter("c").add(1)
    export.shutdown()
    sent = ExportMetricsServiceRequest.FromString(collector.posts["/v1/metrics"][0])
    assert [m.name for m in sent.resource_metrics[0].scope_metrics[0].metrics] == ["c"]


def test_a_disabled_sdk_shows_no_metrics(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    telemetry = configure_telemetry(service_name="flags", service_version="1", otlp_endpoint=None)
    telemetry.record_request(method="GET", route=None, status=200, seconds=0.1)
    assert b"duration" not in telemetry.prometheus_text()


def test_an_absent_collector_does_not_hold_up_the_shutdown():
    telemetry = configure_telemetry(
        service_name="flags", service_version="1", otlp_endpoint="http://127.0.0.1:9"
    )
    trace = TraceContext.new(is_sampled=True)
    telemetry.record_request(method="GET", route=None, status=200, seconds=0.1, trace=trace)
    started = time.monotonic()
    telemetry.shutdown(timeout_seconds=0.2)
    assert time.monotonic() - started < 1.5


def test_metrics_can_be_read_and_recorded_after_shutdown(exporting: Telemetry, telemetry: Telemetry):
    for each in (exporting, telemetry):
        each.shutdown()
        each.shutdown()
        each.record_request(
            method="GET", route="/after", status=200, seconds=0.1, trace=TraceContext.new(is_sampled=True)
        )
        assert b"/after" in each.prometheus_text()
        assert not each.is_exporting


def test_the_exporters_are_not_imported_without_an_endpoint():
    program = (
        "import sys; from undercroft.shared.telemetry import configure_telemetry; "
        "configure_telemetry(service_name='a', service_version='1', otlp_endpoint=None).prometheus_text(); "
        "print([m for m in ('requests', 'google.protobuf', 'opentelemetry.sdk.trace') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
