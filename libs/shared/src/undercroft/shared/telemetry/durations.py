"""Histograms of durations that cost a microsecond to feed, shown to OpenTelemetry when its metrics are collected.

The SDK's own histogram checks, copies and hashes the attributes for every value, ten times that cost. Its Python
implementation has no MetricProducer, through which others' metrics are meant to join the SDK's, hence `add_durations`.
"""

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, Generic, TypeVar

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    ScopeMetrics,
)

Key = TypeVar("Key", bound=Hashable)

# Those that the semantic conventions for HTTP metrics advise.
_BUCKETS_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
# The SDK's default, and the attribute that the specification gives to what comes beyond it
# (metrics/sdk, cardinality limits).
_MOST_SERIES: Final = 2000
_OVERFLOW: Final = {"otel.metric.overflow": True}


class _Series:
    __slots__ = ("_attributes", "_counts", "_max", "_min", "_since", "_sum")

    def __init__(self, attributes: Mapping[str, str | int]) -> None:
        self._attributes = attributes
        self._since = time.time_ns()
        self._counts = [0] * (len(_BUCKETS_SECONDS) + 1)
        self._sum: float = 0
        self._min = math.inf
        self._max = -math.inf

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(_BUCKETS_SECONDS, seconds)] += 1
        self._sum += seconds
        if not self._min <= seconds <= self._max:
            self._min = min(self._min, seconds)
            self._max = max(self._max, seconds)

    def point(self, now: int) -> HistogramDataPoint:
        return HistogramDataPoint(
            attributes=self._attributes,
            start_time_unix_nano=self._since,
            time_unix_nano=now,
            count=sum(self._counts),
            sum=self._sum,
            bucket_counts=tuple(self._counts),
            explicit_bounds=_BUCKETS_SECONDS,
            min=self._min,
            max=self._max,
        )


class DurationHistogram(Generic[Key]):
    """One metric in seconds, cumulative since its series began; a key stands for a series and its attributes.

    After 2000 series, what has a new key goes to one series whose only attribute is `otel.metric.overflow`.
    """

    def __init__(
        self, name: str, *, description: str, attributes: Callable[[Key], Mapping[str, str | int]]
    ) -> None:
        self._name = name
        self._description = description
        self._attributes = attributes
        self._series: dict[Key | None, _Series] = {}
        # An exporter collects in its own thread, and an addition is several steps.
        self._lock = threading.Lock()

    def record(self, key: Key, seconds: float) -> None:
        """Count one duration."""
        with self._lock:
            series = self._series.get(key)
            if series is None:
                series = self._new_series(key)
            series.add(seconds)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric as it is now, nothing before anything was recorded."""
        now = time.time_ns()
        with self._lock:
            points = [series.point(now) for series in self._series.values()]
        if points:
            histogram = Histogram(points, AggregationTemporality.CUMULATIVE)
            yield Metric(name=self._name, description=self._description, unit="s", data=histogram)

    def _new_series(self, key: Key) -> _Series:
        if len(self._series) < _MOST_SERIES:
            return self._series.setdefault(key, _Series(self._attributes(key)))
        # None is no key: the overflow comes on top of the others.
        return self._series.setdefault(None, _Series(_OVERFLOW))


def add_durations(collected: MetricsData, scope: str, durations: Iterable[Metric]) -> MetricsData:
    """Return what the SDK has collected, with these metrics before the others of the scope."""
    metrics = tuple(durations)

    def extended(of_scope: ScopeMetrics) -> ScopeMetrics:
        if of_scope.scope.name != scope:
            return of_scope
        return replace(of_scope, metrics=[*metrics, *of_scope.metrics])

    return replace(
        collected,
        resource_metrics=[
            replace(of_resource, scope_metrics=[extended(of_scope) for of_scope in of_resource.scope_metrics])
            for of_resource in collected.resource_metrics
        ],
    )
