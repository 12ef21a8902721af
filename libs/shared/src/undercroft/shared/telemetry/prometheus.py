"""Metrics in Prometheus' text format 0.0.4, by OpenTelemetry's rules for the two to understand each other.

https://prometheus.io/docs/instrumenting/exposition_formats/ and the OpenTelemetry specification,
compatibility/prometheus_and_openmetrics.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from opentelemetry.sdk.metrics.export import (
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.resources import Resource

_NOT_IN_NAMES = re.compile("[^a-zA-Z0-9_:]+")
_NOT_IN_LABELS = re.compile("[^a-zA-Z0-9_]+")
_UNITS: Final = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "min": "minutes",
    "h": "hours",
    "d": "days",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "%": "percent",
}
_PER: Final = {"s": "second", "min": "minute", "h": "hour", "d": "day"}


@dataclass(slots=True)
class _Family:
    name: str
    type: str
    help: str
    samples: list[str] = field(default_factory=list)


def render_prometheus(metrics: MetricsData | None, resource: Resource) -> bytes:
    """Render all metrics, after a `target_info` that holds what is known about their source."""
    target = _Family("target_info", "gauge", "Target metadata")
    target.samples.append(f"target_info{_labels(resource.attributes)} 1")
    families = {target.name: target}
    for metric in _metrics(metrics):
        family = _family(metric)
        # Two scopes may use one name: Prometheus wants it once, and no type but one for it.
        known = families.setdefault(family.name, family)
        if known.type == family.type:
            known.samples.extend(_samples(family, metric))
    return "".join(_render(family) for family in families.values() if family.samples).encode()


def _metrics(metrics: MetricsData | None) -> Iterator[Metric]:
    for of_resource in metrics.resource_metrics if metrics else ():
        for of_scope in of_resource.scope_metrics:
            yield from of_scope.metrics


def _family(metric: Metric) -> _Family:
    is_counter = isinstance(metric.data, Sum) and metric.data.is_monotonic
    kind = "histogram" if isinstance(metric.data, Histogram) else "counter" if is_counter else "gauge"
    name = _NOT_IN_NAMES.sub("_", metric.name).strip("_").removesuffix("_total")
    if name[:1].isdigit():
        name = f"_{name}"
    unit = _unit(metric.unit or "", is_gauge=kind == "gauge")
    if unit and not name.endswith(f"_{unit}"):
        name = f"{name}_{unit}"
    return _Family(f"{name}_total" if is_counter else name, kind, metric.description or "")


def _unit(unit: str, *, is_gauge: bool) -> str:
    if unit == "1":
        return "ratio" if is_gauge else ""
    # Annotations such as {request} say what is counted; they are no units.
    amount, _, per = re.sub(r"\{[^}]*\}", "", unit).partition("/")
    name = _UNITS.get(amount, amount)
    if per:
        name = f"{name}_per_{_PER.get(per, per)}"
    return _NOT_IN_LABELS.sub("_", name).strip("_")


def _samples(family: _Family, metric: Metric) -> Iterator[str]:
    for point in metric.data.data_points:
        if isinstance(point, HistogramDataPoint):
            yield from _histogram(family.name, point)
        elif isinstance(point, NumberDataPoint):
            yield f"{family.name}{_labels(point.attributes or {})} {_number(point.value)}"


def _histogram(name: str, point: HistogramDataPoint) -> Iterator[str]:
    attributes = point.attributes or {}
    bounds = [*(_number(bound) for bound in point.explicit_bounds), "+Inf"]
    for bound, count in zip(bounds, accumulate(point.bucket_counts), strict=True):
        yield f"{name}_bucket{_labels(attributes, le=bound)} {count}"
    labels = _labels(attributes)
    yield f"{name}_sum{labels} {_number(point.sum)}"
    yield f"{name}_count{labels} {point.count}"


def _labels(attributes: Mapping[str, object], **more: str) -> str:
    labels: dict[str, str] = {}
    for key, value in sorted(attributes.items()):
        label = _NOT_IN_LABELS.sub("_", key)
        label = f"_{label}" if label[:1].isdigit() else label
        # Two attributes may come to one label: the specification joins their values.
        labels[label] = f"{labels[label]};{_text(value)}" if label in labels else _text(value)
    labels |= more
    if not labels:
        return ""
    return "{" + ",".join(f'{label}="{_escape(value)}"' for label, value in labels.items()) + "}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Iterable) and not isinstance(value, str):
        return "[" + ",".join(_text(item) for item in value) + "]"
    return str(value)


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _render(family: _Family) -> str:
    about = family.help.replace("\\", r"\\").replace("\n", r"\n")
    lines = [f"# HELP {family.name} {about}", f"# TYPE {family.name} {family.type}", *family.samples]
    return "\n".join(lines) + "\n"
