import math
from collections.abc import Mapping

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.util.types import AnyValue

from undercroft.shared.telemetry import prometheus
from undercroft.shared.telemetry.prometheus import render_prometheus

RESOURCE = Resource({"service.name": "flags"})


class Metrics:
    def __init__(self, *views: View) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], RESOURCE, shutdown_on_exit=False, views=views)
        self.meter = self.provider.get_meter("test")

    def text(self) -> str:
        text = render_prometheus(self.reader.get_metrics_data(), RESOURCE).decode()
        target, _, rest = text.partition('target_info{service_name="flags"} 1\n')
        assert target == "# HELP target_info Target metadata\n# TYPE target_info gauge\n"
        return rest


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def sample_of(metrics: Metrics, attributes: Mapping[str, AnyValue]) -> str:
    metrics.meter.create_counter("c").add(1, attributes)
    return metrics.text().splitlines()[-1]


def test_without_metrics_only_the_target_is_told():
    assert render_prometheus(None, RESOURCE).endswith(b'target_info{service_name="flags"} 1\n')


def test_a_counter_ends_in_total(metrics: Metrics):
    metrics.meter.create_counter("cache.hits", description="Hits.").add(3)
    metrics.meter.create_counter("misses.total").add(1.5, {"cache": "a"})
    assert metrics.text() == (
        "# HELP cache_hits_total Hits.\n# TYPE cache_hits_total counter\ncache_hits_total 3\n"
        '# HELP misses_total \n# TYPE misses_total counter\nmisses_total{cache="a"} 1.5\n'
    )


def test_a_counter_that_goes_down_is_a_gauge(metrics: Metrics):
    counter = metrics.meter.create_up_down_counter("queue.size")
    counter.add(3)
    counter.add(-1)
    assert metrics.text() == "# HELP queue_size \n# TYPE queue_size gauge\nqueue_size 2\n"


def test_a_histogram_has_cumulative_buckets_a_sum_and_a_count(metrics: Metrics):
    histogram = metrics.meter.create_histogram(
        "wait", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1, 2.5]
    )
    for seconds in (0.05, 0.1, 0.5, 9):
        histogram.record(seconds, {"kind": "x"})
    assert metrics.text() == (
        "# HELP wait_seconds \n"
        "# TYPE wait_seconds histogram\n"
        'wait_seconds_bucket{kind="x",le="0.1"} 2\n'
        'wait_seconds_bucket{kind="x",le="1"} 3\n'
        'wait_seconds_bucket{kind="x",le="2.5"} 3\n'
        'wait_seconds_bucket{kind="x",le="+Inf"} 4\n'
        'wait_seconds_sum{kind="x"} 9.65\n'
        'wait_seconds_count{kind="x"} 4\n'
    )


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("", "g"),
        ("1", "g_ratio"),
        ("By", "g_bytes"),
        ("%", "g_percent"),
        ("{request}", "g"),
        ("By/s", "g_bytes_per_second"),
        ("{request}/s", "g_per_second"),
        ("m/fortnight", "g_m_per_fortnight"),
    ],
)
def test_the_unit_becomes_part_of_the_name(metrics: Metrics, unit: str, name: str):
    metrics.meter.create_gauge("g", unit=unit).set(1)
    assert metrics.text().splitlines()[-1] == f"{name} 1"


def test_a_unit_that_the_name_has_is_not_repeated(metrics: Metrics):
    metrics.meter.create_counter("cpu.seconds", unit="s").add(1)
    metrics.meter.create_counter("calls", unit="1").add(1)
    assert "cpu_seconds_total 1" in metrics.text()
    assert "calls_total 1" in metrics.text()


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (0.1, "0.1"), (1e300, "1e+300"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN")],
)
def test_numbers_are_written_as_prometheus_reads_them(value: float, text: str):
    # The SDK refuses to record what is not finite; a sum can still overflow.
    assert prometheus._number(value) == text


def test_a_sum_that_overflows_can_still_be_read(metrics: Metrics):
    counter = metrics.meter.create_counter("c")
    counter.add(1e308)
    counter.add(1e308)
    assert metrics.text().splitlines()[-1] == "c_total +Inf"


def test_label_values_are_escaped_and_their_names_made_valid(metrics: Metrics):
    assert sample_of(metrics, {"http.route": 'a"\\\n'}) == 'c_total{http_route="a\\"\\\\\\n"} 1'


def test_attributes_that_share_a_label_are_joined(metrics: Metrics):
    assert sample_of(metrics, {"a.b": "1", "a_b": "2"}) == 'c_total{a_b="1;2"} 1'


def test_other_attribute_values_become_text(metrics: Metrics):
    line = sample_of(metrics, {"1st": True, "n": 5, "list": ("a", "b")})
    assert line == 'c_total{_1st="true",list="[a,b]",n="5"} 1'


def test_help_is_escaped(metrics: Metrics):
    metrics.meter.create_counter("c", description='a\\b\n"c"').add(1)
    assert metrics.text().splitlines()[0] == '# HELP c_total a\\\\b\\n"c"'


def test_a_name_of_two_scopes_is_one_family(metrics: Metrics):
    metrics.meter.create_counter("c").add(1, {"of": "a"})
    metrics.provider.get_meter("other").create_counter("c").add(2, {"of": "b"})
    assert metrics.text().splitlines()[2:] == ['c_total{of="a"} 1', 'c_total{of="b"} 2']
    assert metrics.text().count("# TYPE") == 1


def test_a_name_of_another_type_is_left_out(metrics: Metrics):
    metrics.meter.create_gauge("c").set(1)
    metrics.provider.get_meter("other").create_histogram("c").record(2)
    assert metrics.text() == "# HELP c \n# TYPE c gauge\nc 1\n"


def test_what_the_format_cannot_say_is_left_out():
    metrics = Metrics(View(instrument_name="h", aggregation=ExponentialBucketHistogramAggregation()))
    metrics.meter.create_histogram("h").record(1)
    assert metrics.text() == ""


def test_names_are_made_valid():
    metrics = Metrics(View(instrument_name="odd", name="2nd-odd/name"))
    metrics.meter.create_gauge("odd").set(1)
    assert metrics.text().splitlines()[-1] == "_2nd_odd_name 1"
