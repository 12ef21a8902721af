"""Argon2id off the event loop: bounded in memory by bounding how many are computed at once."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from undercroft.identity.domain.link_secrets import new_secret
from undercroft.identity.domain.passwords import LONGEST_BYTES, normalise_password
from undercroft.identity.errors.accounts import HashingBusyError

ResultT = TypeVar("ResultT")

_STEPS_BACK: Final = 5


@dataclass(frozen=True, slots=True)
class HashingPolicy:
    """What settings say about hashing; memory at most is `memory_kib` times `concurrency`."""

    memory_kib: int
    iterations: int
    parallelism: int
    concurrency: int
    queue: int
    wait_seconds: float


class Verdict(NamedTuple):
    """Whether a password is right, and the hash to store instead when parameters changed since."""

    is_right: bool
    replacement: str | None = None


class PasswordHasher:
    """Hashes and verifies passwords in threads of its own; argon2 releases the interpreter while it computes."""

    def __init__(self, policy: HashingPolicy) -> None:
        hasher = Argon2Hasher(
            time_cost=policy.iterations, memory_cost=policy.memory_kib, parallelism=policy.parallelism
        )
        self._hash = PasswordHash((hasher,))
        self._policy = policy
        self._slots = asyncio.Semaphore(policy.concurrency)
        self._waiting = 0
        self._threads = ThreadPoolExecutor(
            policy.concurrency, thread_name_prefix="hashing", initializer=_step_back
        )
        self._decoy: str | None = None
        self.computations = 0

    async def hash(self, password: str) -> str:
        """Hash a new password; raises `HashingBusyError`."""
        return await self._in_turn(self._compute_hash, normalise_password(password))

    async def verify(self, password: str, stored: str | None) -> Verdict:
        """Compare a password with a stored hash; raises `HashingBusyError`.

        Without one the work is the same, against a hash that nobody knows the password of: the time tells nothing.
        """
        return await self._in_turn(self._compute_verdict, normalise_password(password), stored)

    def close(self) -> None:
        """Let running computations end; what waits is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_turn(self, work: Callable[..., ResultT], *arguments: object) -> ResultT:
        if self._slots.locked() and self._waiting >= self._policy.queue:
            raise HashingBusyError("Too many sign-ins at this moment.", retry_after_seconds=2)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._policy.wait_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise HashingBusyError("Too many sign-ins at this moment.", retry_after_seconds=5) from None
        finally:
            self._waiting -= 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        # The slot is free when the thread is, even if the caller went away in between.
        future.add_done_callback(lambda _: self._slots.release())
        return await asyncio.shield(future)

    def _compute_hash(self, password: str) -> str:
        self.computations += 1
        return self._hash.hash(password)

    def _compute_verdict(self, password: str, stored: str | None) -> Verdict:
        if self._decoy is None:
            self._decoy = self._hash.hash(new_secret())
        self.computations += 1
        is_possible = len(password.encode()) <= LONGEST_BYTES
        try:
            is_right, replacement = self._hash.verify_and_update(
                password if is_possible else "", stored or self._decoy
            )
        except UnknownHashError:
            is_right, replacement = self._hash.verify(password, self._decoy), None
        return Verdict(is_right and is_possible and stored is not None, replacement)


def _step_back() -> None:
    """Let the event loop go first: hashing takes every core it gets. Only Linux has a priority for each thread."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _STEPS_BACK)
