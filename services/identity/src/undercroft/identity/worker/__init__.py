"""Background work of the identity service."""
