import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def uvicorn_as_it_was() -> Iterator[None]:
    """Take back what a server of the launcher does to Uvicorn's logger, which outlives the test."""
    logger = logging.getLogger("uvicorn.error")
    before = list(logger.filters)
    yield
    logger.filters[:] = before
