"""Both ways of running the platform, each started once for the session."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from .platforms import Platform, one_process, separate_processes

MODES: dict[str, Callable[[Path], AbstractContextManager[Platform]]] = {
    "one-process": one_process,
    "separate-processes": separate_processes,
}


@pytest.fixture(scope="session", params=MODES)
def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Yield a running platform, in each mode."""
    with MODES[request.param](tmp_path_factory.mktemp(request.param)) as platform:
        yield platform
        platform.operator.close()
