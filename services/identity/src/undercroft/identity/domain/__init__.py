"""Pure rules and value objects of the identity service."""
