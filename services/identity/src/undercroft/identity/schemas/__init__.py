"""Wire models of the identity service."""
