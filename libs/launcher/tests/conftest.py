import pytest


@pytest.fixture(autouse=True)
def _logging_as_it_was(fresh_logging: None) -> None:
    """Take back what a launcher does to the process's logging, which outlives the test."""
