"""The program that becomes PostgreSQL: make the data directory, give up root, die with the launcher, exec.

It runs as `python -I -S child.py '<json>'`: a fresh process with one thread, because none of this is safe between
fork and exec of a launcher that may have threads. Standard library only, and not even this package.
"""

import ctypes
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import NamedTuple

# linux/prctl.h, linux/securebits.h and linux/capability.h
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = (
    1,
    8,
    28,
    47,
    2,
)
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAPABILITY_VERSION_3 = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH, _SETPCAP = 1 << 1, 1 << 2, 1 << 8


class Plan(NamedTuple):
    """What the child does. Paths are absolute; `account` is (uid, gid), or None to stay who we are."""

    launcher_pid: int
    dies_with_launcher: bool
    account: tuple[int, int] | None
    staging_directory: str
    data_directory: str
    initdb: list[str] | None
    postgres: list[str]
    readable_paths: list[str]


class _ChildError(Exception):
    """A reason not to go on: one line for the log, which the launcher shows."""


# The functions below run in the child, out of coverage's sight; the tests drive them through PostgresServer.


def main(plan: Plan) -> None:  # pragma: no cover
    """Follow the plan to its end, the exec of postgres."""
    if plan.initdb is not None:
        _die_with(plan.launcher_pid, signal.SIGKILL, is_wanted=plan.dies_with_launcher)
        _initialize(plan, plan.initdb)
    _become_account(plan, plan.data_directory)
    # Last, because the kernel forgets it when credentials change. SIGINT is PostgreSQL's fast shutdown.
    _die_with(plan.launcher_pid, signal.SIGINT, is_wanted=plan.dies_with_launcher)
    os.execv(plan.postgres[0], plan.postgres)  # noqa: S606 - what this program is for


def _initialize(plan: Plan, initdb: list[str]) -> None:  # pragma: no cover
    # Killed at any moment, this leaves a staging directory for the next start to remove, never half a database.
    Path(plan.staging_directory).mkdir(0o700)
    if plan.account is not None:
        os.chown(plan.staging_directory, *plan.account)
    own_pid = os.getpid()
    initdb_pid = os.fork()
    if initdb_pid == 0:
        try:
            _become_account(plan, plan.staging_directory)
            _die_with(own_pid, signal.SIGTERM, is_wanted=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            os.execv(initdb[0], initdb)  # noqa: S606 - see above
        except (OSError, _ChildError) as error:
            sys.stderr.write(f"FATAL: {error}\n")
        finally:
            sys.stderr.flush()
            os._exit(1)
    _, status = os.waitpid(initdb_pid, 0)
    if status != 0:
        shutil.rmtree(plan.staging_directory, ignore_errors=True)
        sys.exit(1)
    Path(plan.staging_directory).rename(plan.data_directory)
    parent = os.open(Path(plan.data_directory).parent, os.O_RDONLY)
    os.fsync(parent)
    os.close(parent)


def _become_account(plan: Plan, directory: str) -> None:  # pragma: no cover
    """Become the account, with a capability only when it cannot reach its files without one.

    A checkout below /root is closed to the account. Opening it would change permissions that are not ours, and a copy
    of the binaries elsewhere would have to be kept in step. So the account keeps the weakest capability that suffices:
    CAP_DAC_READ_SEARCH (traverse and read), else CAP_DAC_OVERRIDE, where the first is not to be had (Docker's default
    set) or the binaries lack the execute bit for others (a umask of 077). See capabilities(7), "ambient".
    """
    if plan.account is None:
        return
    uid, gid = plan.account
    libc = ctypes.CDLL(None)
    if sys.platform == "linux":
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    try:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        raise _ChildError(
            f"cannot become user id {uid} ({error.strerror}); run as an ordinary user"
        ) from None
    if sys.platform != "linux":
        return
    permitted = _permitted_capabilities(libc)
    for capability in (0, _DAC_READ_SEARCH, _DAC_OVERRIDE):
        if capability & ~permitted:
            continue
        _set_capabilities(libc, capability | (permitted & _SETPCAP), permitted, 0)
        if capability:
            # Without it access(2), which PostgreSQL asks about its own files, ignores capabilities of a non-root user.
            libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
        if _can_reach(plan, directory):
            _set_capabilities(libc, capability, capability, capability)
            if capability:
                libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability.bit_length() - 1, 0, 0)
            return
    raise _ChildError(
        f"user id {uid} cannot reach {directory} and {plan.postgres[0]}; open them to it or run elsewhere"
    )


def _can_reach(plan: Plan, directory: str) -> bool:  # pragma: no cover
    needs = [(path, os.R_OK) for path in plan.readable_paths]
    needs += [(program[0], os.X_OK) for program in (plan.initdb, plan.postgres) if program]
    needs += [(directory, os.R_OK | os.W_OK | os.X_OK)]
    return all(os.access(path, mode) for path, mode in needs)


def _permitted_capabilities(libc: ctypes.CDLL) -> int:  # pragma: no cover
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    words = (ctypes.c_uint32 * 6)()
    libc.capget(header, words)
    return int(words[1]) & (_DAC_READ_SEARCH | _DAC_OVERRIDE | _SETPCAP)


def _set_capabilities(
    libc: ctypes.CDLL, effective: int, permitted: int, inheritable: int
) -> None:  # pragma: no cover
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    words = (ctypes.c_uint32 * 6)(effective, permitted, inheritable, 0, 0, 0)
    if libc.capset(header, words) != 0:
        raise _ChildError("the kernel refused to reduce capabilities; run as an ordinary user")


def _die_with(parent_pid: int, signal_number: signal.Signals, *, is_wanted: bool) -> None:  # pragma: no cover
    if not is_wanted or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the kernel was told to watch it
        sys.exit(1)


if __name__ == "__main__":  # pragma: no cover
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        main(Plan(**json.loads(sys.argv[1])))
    except (OSError, _ChildError) as failure:
        sys.exit(f"FATAL: {failure}")
