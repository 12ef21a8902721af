"""Tables of the identity service; importing the package fills `metadata`."""

from undercroft.identity.models import api_keys, oauth, organizations, sessions, users
from undercroft.identity.models.base import metadata

__all__ = ["api_keys", "metadata", "oauth", "organizations", "sessions", "users"]
