"""Writes the events of a change in the transaction of the change."""

from sqlalchemy.ext.asyncio import AsyncSession

from undercroft.identity.models.base import outbox
from undercroft.shared.events import Event
from undercroft.shared.events.outbox import publish


class EventRepository:
    """The outbox, as the services see it."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, *events: Event) -> None:
        """Add events; whoever follows the feed is woken by the commit."""
        await publish(self._session, outbox, *events)
