"""Every way of running the platform, each started once for the session."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from .containers import Stack, require_docker, running_stack
from .node_clients import NodeClients
from .platforms import Platform, one_process, separate_processes

PROCESSES: dict[str, Callable[[Path], AbstractContextManager[Platform]]] = {
    "one-process": one_process,
    "separate-processes": separate_processes,
}
CONTAINERS = "containers"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Yield docker-compose.yml, up and ready; whoever takes something away brings it back."""
    require_docker()
    with running_stack(tmp_path_factory.mktemp("compose")) as stack:
        yield stack


@pytest.fixture(scope="session", params=[*PROCESSES, pytest.param(CONTAINERS, marks=pytest.mark.docker)])
def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Yield a running platform, in each mode."""
    if request.param == CONTAINERS:
        stack: Stack = request.getfixturevalue("stack")
        yield stack.platform
        return
    with PROCESSES[request.param](tmp_path_factory.mktemp(request.param)) as platform:
        yield platform
        platform.operator.close()


@pytest.fixture(scope="session")
def node_clients(tmp_path_factory: pytest.TempPathFactory) -> NodeClients:
    """Return the clients of tests/integration/node, installed."""
    return NodeClients.install(tmp_path_factory.mktemp("node"))
