"""Who comes in at once, and that hashing lets the event loop go first."""

import asyncio
import os
import sys
import threading

import pytest
from starlette.types import Message, Receive, Scope, Send

from undercroft.identity.routes.turnstile import Turnstile
from undercroft.identity.service.password_hashing import HashingPolicy, PasswordHasher


async def turns_of(method: str, path: str) -> list[int]:
    """In which turn of the loop each of five requests began, that arrived in the same one."""
    turn = 0
    began: list[int] = []

    async def count() -> None:
        nonlocal turn
        while len(began) < 5:
            turn += 1
            await asyncio.sleep(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        began.append(turn)

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    turnstile = Turnstile(app)
    scope = {"type": "http", "method": method, "path": path}
    await asyncio.gather(count(), *(turnstile(scope, receive, send) for _ in range(5)))
    return began


@pytest.mark.parametrize("path", ["/v1/sessions", "/sign-in", "/sign-in/second-factor", "/register"])
async def test_of_many_who_sign_in_at_once_one_begins_in_each_turn(path: str):
    assert len(set(await turns_of("POST", path))) == 5


@pytest.mark.parametrize(("method", "path"), [("GET", "/sign-in"), ("POST", "/oauth/token")])
async def test_nobody_else_waits_for_a_turn(method: str, path: str):
    assert len(set(await turns_of(method, path))) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")
async def test_hashing_lets_the_event_loop_go_first():
    policy = HashingPolicy(
        memory_kib=1024, iterations=1, parallelism=1, concurrency=1, queue=1, wait_seconds=1
    )
    hasher = PasswordHasher(policy)

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert await asyncio.get_running_loop().run_in_executor(hasher._threads, niceness) > niceness()
    hasher.close()
