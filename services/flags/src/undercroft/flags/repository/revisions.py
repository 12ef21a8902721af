"""Draws revisions: numbers that only grow, each with the moment it was drawn."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.flags.models import revisions


class Revision(NamedTuple):
    """A number greater than every one drawn before in this database, and the time."""

    number: int
    at: datetime


async def next_revision(session: AsyncSession) -> Revision:
    """Draw the next revision.

    Whoever draws one for a row holds its lock, so that the row's revisions grow in the order of its commits.
    """
    statement = select(revisions.next_value(), func.clock_timestamp())
    number, at = (await session.execute(statement)).one()
    return Revision(number, at)
