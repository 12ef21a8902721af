"""Alembic environment of the identity schema."""

from undercroft.identity.models import metadata
from undercroft.shared.migrations import run_env

run_env(metadata)
