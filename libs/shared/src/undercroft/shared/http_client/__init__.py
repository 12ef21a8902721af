"""HTTP to other deployables: transports (network, in-process), the exchange protocol and the typed client."""

from undercroft.shared.http_client.call_context import (
    CallContext,
    bind_call_context,
    current_call_context,
    deadline_from,
)
from undercroft.shared.http_client.exchange import (
    Exchange,
    ExchangeTransport,
    Outgoing,
    Timeouts,
    exchange_transport,
)
from undercroft.shared.http_client.in_process import AsgiApp, InProcessTransport
from undercroft.shared.http_client.network import NetworkLimits, NetworkTransport
from undercroft.shared.http_client.service_client import CallOptions, ServiceClient

__all__ = [
    "AsgiApp",
    "CallContext",
    "CallOptions",
    "Exchange",
    "ExchangeTransport",
    "InProcessTransport",
    "NetworkLimits",
    "NetworkTransport",
    "Outgoing",
    "ServiceClient",
    "Timeouts",
    "bind_call_context",
    "current_call_context",
    "deadline_from",
    "exchange_transport",
    "make_transport",
]


def make_transport(limits: NetworkLimits | None = None) -> NetworkTransport:
    """Return the transport for calls over the network: the one place where it is chosen."""
    return NetworkTransport(limits)
