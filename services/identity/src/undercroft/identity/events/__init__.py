"""Events that the identity service publishes. None carries a secret or its hash."""
