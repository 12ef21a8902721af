"""Single reads on hot paths: prepared statements, past the ORM and its pool, which take longer than the read.

Those that ask the same at the same time are answered by one statement: a round trip costs more than twenty rows.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy import Select
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.engine import make_url

from undercroft.shared.db import Database, translate_outage
from undercroft.shared.errors import UnavailableError

_TIMEOUT_SECONDS: Final = 5.0
_MOST_TOGETHER: Final = 64
# While so many are under way others gather, and are asked together when one returns.
_UNDER_WAY: Final = 2
_PARAMETER: Final = re.compile(r"\$(\d+)")
_OUTAGES: Final = (OSError, TimeoutError, asyncpg.PostgresConnectionError,
                   asyncpg.CannotConnectNowError, asyncpg.AdminShutdownError, asyncpg.TooManyConnectionsError)  # fmt: skip


class Reads(Protocol):
    """Reads one row of what is committed."""

    async def find(
        self, statement: Select[*tuple[Any, ...]], values: Mapping[str, object]
    ) -> Any | None:  # a row of any shape
        """Return the row of a statement that has at most one; raises `UnavailableError`."""


class SessionReads:
    """Reads through the pool that everything else uses, inside whatever transaction its connection is in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, statement: Select[*tuple[Any, ...]], values: Mapping[str, object]) -> Any | None:
        """Return the row of a statement that has at most one."""
        async with self._database.read() as session:
            return (await session.execute(statement, values)).one_or_none()


class PreparedReads:
    """Keeps a few connections of its own; each statement is prepared once on each."""

    def __init__(self, database_url: str, *, size: int, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        self._dsn = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(size)
        self._idle: list[asyncpg.Connection] = []
        self._queues: dict[Select[*tuple[Any, ...]], _Queue] = {}

    async def find(self, statement: Select[*tuple[Any, ...]], values: Mapping[str, object]) -> Any | None:
        """Return the row of a statement that has at most one; raises `UnavailableError`."""
        queue = self._queues.get(statement)
        if queue is None:
            queue = self._queues[statement] = _Queue(_Form.of(statement))
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        queue.waiting.append(_Question(queue.form.arguments(values), answer))
        self._depart(queue)
        with translate_outage():
            try:
                return await answer
            except _OUTAGES as error:
                raise UnavailableError(
                    "The database is not available at the moment.", code="database_unavailable"
                ) from error

    async def close(self) -> None:
        """Close every connection that nobody uses."""
        while self._idle:
            await self._idle.pop().close(timeout=1)

    def _depart(self, queue: "_Queue") -> None:
        """Ask for what waits, unless whoever returns next does."""
        if queue.waiting and not queue.is_departing and len(queue.under_way) < _UNDER_WAY:
            queue.is_departing = True
            # The task begins in the next turn of the event loop: what else is asked in this one goes with it.
            task = asyncio.create_task(self._ask(queue))
            queue.under_way.add(task)
            task.add_done_callback(partial(self._return, queue))

    def _return(self, queue: "_Queue", task: asyncio.Task[None]) -> None:
        queue.under_way.discard(task)
        self._depart(queue)

    async def _ask(self, queue: "_Queue") -> None:
        asked = queue.take()
        self._depart(queue)  # there may be more than go together
        if len(asked) > 1:
            try:
                rows = await self._fetch_together(queue.form, asked)
            except _OUTAGES as error:
                for question in asked:
                    question.fail(error)
            except Exception:  # noqa: BLE001  one of them is wrong: whoever asked it is told, and nobody else
                await asyncio.gather(*(self._ask_alone(queue.form, question) for question in asked))
            else:
                for question, row in zip(asked, rows, strict=True):
                    question.tell(row)
        else:
            await self._ask_alone(queue.form, asked[0])

    async def _ask_alone(self, form: "_Form", question: "_Question") -> None:
        try:
            rows = await self._fetch(form.alone, question.arguments)
        except Exception as error:  # noqa: BLE001  it is theirs who asked
            question.fail(error)
        else:
            question.tell(rows[0] if rows else None)

    async def _fetch_together(self, form: "_Form", asked: "Sequence[_Question]") -> Sequence[Any | None]:
        columns = list(zip(*(question.arguments for question in asked), strict=True))
        found: list[Any | None] = [None] * len(asked)
        for row in await self._fetch(form.together, columns):
            *values, number = row
            found[number - 1] = values
        return found

    async def _fetch(self, sql: str, arguments: Sequence[object]) -> Sequence[Any]:
        async with self._slots:
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    break
            else:
                connection = await asyncpg.connect(
                    self._dsn,
                    timeout=self._timeout_seconds,
                    command_timeout=self._timeout_seconds,
                    server_settings={"application_name": "identity-reads", "jit": "off"},
                )
            try:
                rows: Sequence[Any] = await connection.fetch(sql, *arguments)
            except BaseException:
                connection.terminate()  # in whatever state it is
                raise
            self._idle.append(connection)
            return rows


class _Form:
    """A statement, for one question and for many: these come as an array for each parameter."""

    def __init__(
        self, sql: str, names: Sequence[str], types: Sequence[str], constants: Mapping[str, object]
    ) -> None:
        self._names = names
        self._constants = constants
        self.alone = sql
        numbers = range(1, len(names) + 1)
        arrays = ", ".join(f"${number}::{kind}[]" for number, kind in zip(numbers, types, strict=True))
        given = ", ".join(f"p{number}" for number in numbers)
        asked = _PARAMETER.sub(r"given.p\1", sql)
        self.together = (
            f"SELECT found.*, given.number FROM unnest({arrays}) WITH ORDINALITY AS given({given}, number)"  # noqa: S608  of our own statements
            f" CROSS JOIN LATERAL ({asked}) AS found"
        )

    @classmethod
    def of(cls, statement: Select[*tuple[Any, ...]]) -> "_Form":
        """Compile a statement."""
        postgresql = dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own
        compiled = statement.compile(dialect=postgresql)
        names = tuple(compiled.positiontup or ())
        types = [compiled.binds[name].type.compile(postgresql) for name in names]
        return cls(str(compiled), names, types, compiled.params)

    def arguments(self, values: Mapping[str, object]) -> Sequence[object]:
        """Return the arguments in their order."""
        return [values.get(name, self._constants[name]) for name in self._names]


class _Question(NamedTuple):
    """What somebody waits for, who may have gone."""

    arguments: Sequence[object]
    answer: asyncio.Future[Any]

    def tell(self, row: Any | None) -> None:
        if not self.answer.done():
            self.answer.set_result(row)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class _Queue:
    """The questions of one form."""

    def __init__(self, form: _Form) -> None:
        self.form = form
        self.waiting: list[_Question] = []
        self.under_way: set[asyncio.Task[None]] = set()
        self.is_departing = False

    def take(self) -> Sequence[_Question]:
        """Take what goes together, the longest waiting first."""
        self.is_departing = False
        taken, self.waiting = self.waiting[:_MOST_TOGETHER], self.waiting[_MOST_TOGETHER:]
        return taken
