import threading
from dataclasses import replace

import pytest
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    MetricsData,
)
from opentelemetry.sdk.resources import Resource

from undercroft.shared.telemetry.durations import DurationHistogram, add_durations
from undercroft.shared.telemetry.prometheus import render_prometheus

NAME, DESCRIPTION = "http.server.request.duration", "Duration of HTTP server requests."
RESOURCE = Resource({"service.name": "flags"})
# What the semantic conventions advise: restated, so that a change of them shows.
BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
VALUES = [0, 0.0049, 0.005, 0.0051, 0.01, 0.3, 0.1 + 0.2, 1, 7.5, 10, 10.1, 3600]


class Sdk:
    """OpenTelemetry's own histogram, which ours must equal."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider(
            [self.reader], RESOURCE, exemplar_filter=AlwaysOffExemplarFilter(), shutdown_on_exit=False
        )
        self.histogram = self.provider.get_meter("undercroft").create_histogram(
            NAME, unit="s", description=DESCRIPTION, explicit_bucket_boundaries_advisory=BOUNDARIES
        )

    def collect(self) -> MetricsData:
        collected = self.reader.get_metrics_data()
        assert collected is not None
        return collected

    def metric(self) -> Metric:
        return self.collect().resource_metrics[0].scope_metrics[0].metrics[0]


@pytest.fixture
def durations() -> DurationHistogram[str]:
    return DurationHistogram(NAME, description=DESCRIPTION, attributes=lambda key: {"http.route": key})


def metric_of(durations: DurationHistogram[str]) -> Metric:
    (metric,) = durations.collect()
    return metric


def histogram_of(metric: Metric) -> Histogram:
    assert isinstance(metric.data, Histogram)
    return metric.data


def points_of(durations: DurationHistogram[str]) -> list[HistogramDataPoint]:
    return list(histogram_of(metric_of(durations)).data_points)


def timeless(metric: Metric) -> Metric:
    histogram = histogram_of(metric)
    points = [replace(p, start_time_unix_nano=0, time_unix_nano=0) for p in histogram.data_points]
    return replace(metric, data=Histogram(points, histogram.aggregation_temporality))


def test_nothing_is_collected_before_anything_is_recorded(durations: DurationHistogram[str]):
    assert list(durations.collect()) == []


def test_it_equals_the_histogram_of_the_sdk_also_when_collected_again(durations: DurationHistogram[str]):
    sdk = Sdk()
    for values in (VALUES, VALUES[:3], []):
        for seconds in values:
            for route in ("/a", "/b"):
                sdk.histogram.record(seconds, {"http.route": route})
                durations.record(route, seconds)
        assert timeless(metric_of(durations)) == timeless(sdk.metric())


def test_it_is_cumulative_since_each_series_began(durations: DurationHistogram[str]):
    durations.record("/a", 1)
    (first,) = points_of(durations)
    durations.record("/a", 2)
    durations.record("/b", 2)
    again, later = points_of(durations)
    assert histogram_of(metric_of(durations)).aggregation_temporality is AggregationTemporality.CUMULATIVE
    assert (first.count, again.count, again.sum, again.min, again.max) == (1, 2, 3, 1, 2)
    assert again.start_time_unix_nano == first.start_time_unix_nano <= first.time_unix_nano
    assert first.time_unix_nano <= later.start_time_unix_nano <= later.time_unix_nano


def test_beyond_2000_series_the_others_share_one(durations: DurationHistogram[str]):
    sdk = Sdk()
    for number in [*range(2003), 0, 2002]:
        sdk.histogram.record(0.5, {"http.route": f"/{number}"})
        durations.record(f"/{number}", 0.5)
    points = points_of(durations)
    assert len(points) == 2001
    assert (points[0].attributes, points[0].count) == ({"http.route": "/0"}, 2)
    assert (points[-1].attributes, points[-1].count) == ({"otel.metric.overflow": True}, 4)
    assert timeless(metric_of(durations)) == timeless(sdk.metric())


def test_nothing_recorded_in_several_threads_is_lost(durations: DurationHistogram[str]):
    def record() -> None:
        for _ in range(5_000):
            durations.record("/a", 0.5)

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (point,) = points_of(durations)
    assert (point.count, point.sum) == (20_000, 10_000)


def test_durations_join_the_metrics_of_their_scope_only(durations: DurationHistogram[str]):
    sdk = Sdk()
    sdk.provider.get_meter("undercroft").create_counter("own").add(1)
    sdk.provider.get_meter("other").create_counter("foreign").add(1)
    durations.record("/a", 0.5)
    collected = sdk.collect()
    (of_resource,) = add_durations(collected, "undercroft", durations.collect()).resource_metrics
    names = {of.scope.name: [metric.name for metric in of.metrics] for of in of_resource.scope_metrics}
    assert names == {"undercroft": [NAME, "own"], "other": ["foreign"]}
    assert len(collected.resource_metrics[0].scope_metrics[0].metrics) == 1


def test_prometheus_shows_them_as_those_of_the_sdk(durations: DurationHistogram[str]):
    sdk, bare = Sdk(), Sdk()
    bare.provider.get_meter("undercroft").create_counter("c").add(1)
    for seconds in VALUES:
        sdk.histogram.record(seconds, {"http.route": "/a"})
        durations.record("/a", seconds)
    ours = add_durations(bare.collect(), "undercroft", durations.collect())
    theirs = render_prometheus(sdk.collect(), RESOURCE)
    assert render_prometheus(ours, RESOURCE).startswith(theirs)
