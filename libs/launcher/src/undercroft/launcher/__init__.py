"""The undercroft command: every deployable in one process, on an embedded PostgreSQL."""
