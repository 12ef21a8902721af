"""HTTP in and out of the flags service."""
