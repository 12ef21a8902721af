"""Two replicas under a stream of changes: nothing torn, nothing lost, nothing back in time. By the order of events."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
import pytest
from services.flags.tests.conftest import Replica
from services.flags.tests.factories import definition, document, operator

NIGHTLY = os.environ.get("UNDERCROFT_HYPOTHESIS_PROFILE") == "nightly"
# Twenty changes a round; the nightly profile makes those of ten seconds at 200 a second.
ROUNDS = 100 if NIGHTLY else 10
TOGETHER = tuple(f"flag-{number}" for number in range(20))
READ_PAUSE_SECONDS = 0.01
ALL = "/ofrep/v1/evaluate/flags"
COUNTER = "/v1/flags/counter/environments/production"
STATES = ("DISABLED", "ENABLED")


def counter(number: int) -> dict[str, object]:
    return definition(variants={"on": number})


async def turn_all(client: httpx.AsyncClient, number: int) -> None:
    changes = [{"flag": key, "environment": "production", "state": STATES[number % 2]} for key in TOGETHER]
    answer = await client.post("/v1/flags/bulk", json={"changes": changes}, headers=operator())
    assert answer.status_code == 200, answer.text


async def seen_by(client: httpx.AsyncClient) -> Mapping[str, Mapping[str, object]]:
    answer = await client.post(ALL, json={}, headers=operator())
    return {flag["key"]: flag for flag in answer.json()["flags"]}


class Reader:
    """Reads one replica over and over, and keeps what no reader may ever see."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.numbers: list[int] = []
        self.torn = 0
        self.is_stopping = False

    async def read(self) -> None:
        while not self.is_stopping:
            flags = await seen_by(self._client)
            self.torn += len({flags[key]["reason"] for key in TOGETHER}) > 1
            self.numbers.append(int(str(flags["counter"]["value"])))
            await asyncio.sleep(READ_PAUSE_SECONDS)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.read())
            try:
                yield
            finally:
                self.is_stopping = True


async def until_counted(client: httpx.AsyncClient, number: int) -> None:
    async with asyncio.timeout(20):
        while (await seen_by(client)).get("counter", {}).get("value") != number:  # noqa: ASYNC110  it is beyond HTTP
            await asyncio.sleep(0.005)


@pytest.mark.usefixtures("admin")
async def test_a_stream_of_changes_is_neither_torn_nor_lost(replica: Replica):
    # Without a poll in time: what arrives was notified.
    async with replica(snapshot_poll_seconds=60) as one, replica(snapshot_poll_seconds=60) as other:
        first = document(counter=counter(0), **dict.fromkeys(TOGETHER, definition()))
        assert (await one.put("/v1/environments/production/flagd", json=first)).is_success
        await until_counted(other, 0)
        readers = Reader(one), Reader(other)
        async with readers[0].reading(), readers[1].reading():
            for number in range(1, ROUNDS + 1):
                writer = (one, other)[number % 2]
                await turn_all(writer, number)
                assert (await writer.put(COUNTER, json=counter(number), headers=operator())).is_success
                # Whoever made a change sees it, and those before it, which the other replica made.
                assert (await seen_by(writer))["counter"]["value"] == number
            await until_counted(one, ROUNDS)
            await until_counted(other, ROUNDS)
        history = (
            await one.get("/v1/flags/counter/history", params={"limit": 200}, headers=operator())
        ).json()
    assert [reader.torn for reader in readers] == [0, 0]
    assert all(reader.numbers == sorted(reader.numbers) for reader in readers)
    assert all(len(set(reader.numbers)) > 1 for reader in readers)
    made = [item for item in history["items"] if item["environment"] == "production"]
    assert len(made) == ROUNDS + 1
