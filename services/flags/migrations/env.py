"""Migrations of the flags service's schema."""

from undercroft.flags.models import metadata
from undercroft.shared.migrations import run_env

run_env(metadata)
