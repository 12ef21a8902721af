"""Fixtures of the flag engine's unit tests."""

from pathlib import Path

import pytest

SPECIFICATIONS = Path(__file__).resolve().parents[5] / "shared" / "specs" / "openfeature"


@pytest.fixture
def specifications() -> Path:
    """The folder of machine-readable OpenFeature files; skips where the repository stands alone."""
    if not SPECIFICATIONS.is_dir():
        pytest.skip("the specifications are not beside the repository")
    return SPECIFICATIONS
