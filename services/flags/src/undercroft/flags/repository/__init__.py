"""The only SQL of the flags service."""
