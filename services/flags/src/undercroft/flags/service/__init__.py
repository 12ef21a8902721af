"""Use cases of the flags service. Knows no HTTP and no SQL."""
