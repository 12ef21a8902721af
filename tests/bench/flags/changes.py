"""Two replicas, 200 changes a second: how long until the other replica shows one."""

import itertools
import threading
import time
from collections.abc import Iterator

import httpx
from tests.bench.flags.environment import flagd_document
from tests.bench.flags.service import caller_headers, operator_headers, operators_client, service
from tests.bench.rig.processes import LOAD_CORE, SERVER_CORE

CHANGES_PER_SECOND = 200
TOGETHER = 20
ALL = "/ofrep/v1/evaluate/flags"
KEYS = tuple(f"flag-{number:05}" for number in range(TOGETHER))


def report_changes(database_url: str, *, seconds: float) -> None:
    """Change twenty flags at a time, by turns on either replica; print what the readers saw and when."""
    with (
        service(database_url, core=SERVER_CORE) as one,
        service(database_url, core=LOAD_CORE) as other,
        operators_client(one) as first,
        operators_client(other) as second,
    ):
        first.put("/v1/environments/production/flagd", json=flagd_document()).raise_for_status()
        made: list[float] = []
        seen = [_Reader(each.url) for each in (one, other)]
        threads = [threading.Thread(target=reader.read) for reader in seen]
        for thread in threads:
            thread.start()
        started = time.perf_counter()
        for number, writer in _rounds(seconds, (first, second)):
            made.append(time.perf_counter())
            _turn(writer, number)
        took = time.perf_counter() - started
        time.sleep(1)
        for reader in seen:
            reader.is_stopping = True
        for thread in threads:
            thread.join()
    rate = len(made) * TOGETHER / took
    lost = sum(reader.was_on != (len(made) % 2 == 0) for reader in seen)
    whole = [reader for reader in seen if len(reader.turns) == len(made)]
    late = [turn - at for reader in whole for turn, at in zip(reader.turns, made, strict=True)]
    torn = sum(reader.torn for reader in seen)
    answers = sum(reader.answers for reader in seen)
    print(f"{'changes a second, ' + str(TOGETHER) + ' in a transaction':52}{rate:9,.0f}/s")
    # Two changes between two readings show nothing: of such a replica only the end is known.
    told = f"{max(late) * 1e3:9.0f} ms at most" if late else "  (read too seldom to tell)"
    print(f"{'visible, from before the request, replicas: ' + str(len(whole)):52}{told}")
    print(f"{'bulk answers meanwhile; torn; replicas behind at the end':56}{answers:7,}{torn:6}{lost:6}")


def _rounds(seconds: float, writers: tuple[httpx.Client, ...]) -> Iterator[tuple[int, httpx.Client]]:
    interval = TOGETHER / CHANGES_PER_SECOND
    started = time.perf_counter()
    for number in itertools.count():
        wait = started + number * interval - time.perf_counter()
        time.sleep(max(0.0, wait))
        if time.perf_counter() - started > seconds:
            return
        yield number, writers[number % len(writers)]


def _turn(client: httpx.Client, number: int) -> None:
    state = ("DISABLED", "ENABLED")[number % 2]
    changes = [{"flag": key, "environment": "production", "state": state} for key in KEYS]
    answer = client.post("/v1/flags/bulk", json={"changes": changes}, headers=operator_headers())
    answer.raise_for_status()


class _Reader:
    """Reads one replica, and notes when all twenty have turned."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.was_on = True
        self.turns: list[float] = []
        self.torn = 0
        self.answers = 0
        self.is_stopping = False

    def read(self) -> None:
        with httpx.Client(base_url=self._url) as client:
            while not self.is_stopping:
                answer = client.post(ALL, json={"context": {"country": "CH"}}, headers=caller_headers())
                flags = {flag["key"]: flag["reason"] for flag in answer.json()["flags"]}
                on = {flags[key] != "DISABLED" for key in KEYS}
                self.answers += 1
                self.torn += len(on) > 1
                if on == {not self.was_on}:
                    self.was_on = not self.was_on
                    self.turns.append(time.perf_counter())
                time.sleep(0.005)
