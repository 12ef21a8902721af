"""The endpoints of the authorization server. Their bodies and errors are those of their standards, never problems."""
