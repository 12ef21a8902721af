"""Traces and metrics: what they are made of, how they leave the process, how a trace crosses it."""

from undercroft.shared.telemetry.providers import Telemetry, configure_telemetry
from undercroft.shared.telemetry.trace_context import TraceContext

__all__ = ["Telemetry", "TraceContext", "configure_telemetry"]
