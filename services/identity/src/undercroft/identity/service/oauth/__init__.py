"""Use cases of the authorization server."""
