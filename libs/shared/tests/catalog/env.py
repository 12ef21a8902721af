"""Alembic environment of the example schema `catalog`."""

from catalog_models import metadata

from undercroft.shared.migrations import run_env

run_env(metadata)
