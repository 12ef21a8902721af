"""Use cases of the identity service: rules, order of steps, events."""
