"""Wire models of the management API."""
