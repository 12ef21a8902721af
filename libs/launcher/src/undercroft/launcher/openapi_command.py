"""`undercroft openapi`: the document that the gateway serves, from applications that are built and never run."""

from typing import BinaryIO, Final

from undercroft.gateway.openapi.merging import merge
from undercroft.gateway.routes_table import OWN_VIEWS, load_routes
from undercroft.launcher.deployables import DEPLOYABLES, GATEWAY
from undercroft.shared.app import VERSION
from undercroft.shared.command import placeholder_settings
from undercroft.shared.serialization import dumps

_ISSUER: Final = "http://127.0.0.1:8080"  # where `undercroft up` listens by default


def write_openapi(output: BinaryIO) -> None:
    """Write the merged document as one line of JSON."""
    documents = {
        OWN_VIEWS if each.name == GATEWAY else each.name: each.load_create_app()(
            placeholder_settings(each.load_settings_class())
        ).openapi()
        for each in DEPLOYABLES
    }
    services = [each.name for each in DEPLOYABLES if each.name != GATEWAY]
    output.write(dumps(merge(documents, load_routes(services), version=VERSION, issuer=_ISSUER)) + b"\n")
