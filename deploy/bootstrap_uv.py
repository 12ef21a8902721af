"""Bring the uv that uv.lock pins into a directory: `python3 bootstrap_uv.py uv.lock DIRECTORY`.

For a machine that has Python and nothing else. The user's own pip comes first, because it knows his mirrors and
proxies; without a working pip the wheel is downloaded from the address in the lock. Either way the wheel's SHA-256 is
the one in the lock. Standard library only; runs before any dependency exists.
"""

import hashlib
import http.client
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

_TIMEOUT_SECONDS = 30
_ABANDONED_SECONDS = 3600
_SCRATCH_PREFIX = "new-"
_FETCH_ADVICE = (
    "check the network, the proxy (HTTPS_PROXY) and its certificates (SSL_CERT_FILE, for pip PIP_CERT), "
    "or install uv yourself"
)
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


class BootstrapError(Exception):
    """uv cannot be brought; the message is one line that says why and what to do."""


class Wheel(NamedTuple):
    """One wheel of uv as the lock has it; `sha256` is hexadecimal."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """The file name, whose last dash-separated part is the platform tags."""
        return unquote(Path(urlsplit(self.url).path).name)

    @property
    def platforms(self) -> list[str]:
        """The platform tags (PEP 425, PEP 600, PEP 656)."""
        return self.name.removesuffix(".whl").rpartition("-")[2].split(".")


class Release(NamedTuple):
    """The version of uv that the lock pins, with its wheels."""

    version: str
    wheels: list[Wheel]


class Machine(NamedTuple):
    """What decides which wheel runs here: `libc` is "glibc" or "musl" on Linux and empty elsewhere."""

    system: str
    architecture: str
    libc: str
    version: tuple[int, int]


def read_release(lock: Path) -> Release:
    """Read uv's version and wheels out of uv.lock."""
    try:
        packages = tomllib.loads(lock.read_text("utf-8"))["package"]
        entry = next(package for package in packages if package["name"] == "uv")
        wheels = [Wheel(wheel["url"], wheel["hash"].removeprefix("sha256:")) for wheel in entry["wheels"]]
    except (OSError, tomllib.TOMLDecodeError, KeyError, StopIteration) as error:
        raise BootstrapError(
            f"{lock} does not tell which uv to use ({error!r}): restore it, or install uv yourself"
        ) from error
    return Release(entry["version"], wheels)


def this_machine() -> Machine:
    """Describe the machine this runs on."""
    architecture = platform.machine().lower()
    system = platform.system()
    if system == "Darwin":
        return Machine(system, architecture, "", _numbers(platform.mac_ver()[0]))
    architecture = _ARCHITECTURES.get(architecture, architecture)
    if architecture == "x86_64" and sys.maxsize < 2**32:
        architecture = "i686"
    libc, version = platform.libc_ver()
    if libc == "glibc":
        return Machine(system, architecture, libc, _numbers(version))
    # Python before 3.13 does not know musl by name; every musl that carries Python 3.11 is at least 1.2.
    return Machine(system, architecture, "musl" if system == "Linux" else "", (1, 2))


def choose_wheel(release: Release, machine: Machine) -> Wheel:
    """Return the first wheel that runs on the machine."""
    for wheel in release.wheels:
        if any(_runs(tag, machine) for tag in wheel.platforms):
            return wheel
    raise BootstrapError(
        f"uv {release.version} has no wheel for {machine.system} {machine.architecture}: install uv yourself"
    )


def _runs(tag: str, machine: Machine) -> bool:
    kind, _, rest = tag.partition("_")
    kinds = {("Linux", "glibc"): "manylinux", ("Linux", "musl"): "musllinux", ("Darwin", ""): "macosx"}
    if kind != kinds.get((machine.system, machine.libc)):
        return False
    major, minor, architecture = rest.split("_", 2)
    fits = architecture == machine.architecture or (
        architecture == "universal2" and machine.system == "Darwin"
    )
    return fits and (int(major), int(minor)) <= machine.version


def _numbers(version: str) -> tuple[int, int]:
    major, _, rest = version.partition(".")
    return int(major or 0), int(rest.partition(".")[0] or 0)


def bring(lock: Path, directory: Path) -> None:
    """Put the executable at DIRECTORY/uv, in one atomic step: a killed run leaves no half of it."""
    release = read_release(lock)
    wheel = choose_wheel(release, this_machine())
    print(f"undercroft: fetching uv {release.version} (once)…", file=sys.stderr, flush=True)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(directory)
        with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX, dir=directory) as name:
            scratch = Path(name)
            archive = fetch_with_pip(release, scratch) or download(wheel, scratch)
            unpack(archive, scratch / "uv").replace(directory / "uv")
    except (OSError, zipfile.BadZipFile) as error:
        raise BootstrapError(
            f"cannot write uv to {directory} ({error}): make the checkout writable, or install uv yourself"
        ) from error


def fetch_with_pip(release: Release, scratch: Path) -> Path | None:
    """Let the user's pip download the wheel, and return it; None when there is no working pip or it fails.

    `pip download` of one exact wheel installs nothing, so neither PEP 668 nor the age of pip matters.
    """
    pip = [sys.executable, "-m", "pip"]
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--retries=1"]
    for command in (
        [*pip, "--version"],
        [*pip, "download", *options, f"--dest={scratch}", f"uv=={release.version}"],
    ):
        if (
            subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode
            != 0
        ):
            return None
    archive = next(scratch.glob("uv-*.whl"), None)
    known = {wheel.sha256 for wheel in release.wheels}
    return archive if archive is not None and _sha256(archive) in known else None


def download(wheel: Wheel, scratch: Path) -> Path:
    """Download the wheel from its address in the lock; proxies and certificates come from the environment."""
    archive = scratch / wheel.name
    try:
        with (
            urllib.request.urlopen(wheel.url, timeout=_TIMEOUT_SECONDS) as answer,
            archive.open("wb") as file,
        ):
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise BootstrapError(
            f"cannot download {wheel.name} ({getattr(error, 'reason', error)}): {_FETCH_ADVICE}"
        ) from error
    if _sha256(archive) != wheel.sha256:
        raise BootstrapError(
            f"{wheel.name} was cut or altered on its way (its SHA-256 is not the one in uv.lock): {_FETCH_ADVICE}"
        )
    return archive


def unpack(archive: Path, destination: Path) -> Path:
    """Extract the executable, and only that, from the wheel."""
    with zipfile.ZipFile(archive) as wheel:
        member = next((name for name in wheel.namelist() if name.endswith(".data/scripts/uv")), None)
        if member is None:
            raise BootstrapError(f"{archive.name} holds no uv: install uv yourself")
        with wheel.open(member) as source, destination.open("wb") as file:
            shutil.copyfileobj(source, file)
    destination.chmod(0o755)
    return destination


def main(arguments: list[str]) -> int:
    """Bring uv and return the exit status."""
    try:
        bring(Path(arguments[0]), Path(arguments[1]))
    except BootstrapError as error:
        print(f"undercroft: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _remove_abandoned(directory: Path) -> None:
    """Remove what a killed run left, but not what another run is just filling."""
    for scratch in directory.glob(f"{_SCRATCH_PREFIX}*"):
        if time.time() - scratch.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(scratch, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
