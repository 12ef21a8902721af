"""Events between services: what they are, the outbox they are written to, the feed that serves them, who follows it.

Importing this knows no database; `outbox`, `feed` and `consumers` do.
"""

from undercroft.shared.events.event import (
    FEED_PATH,
    MAX_WAIT_SECONDS,
    CloudEvent,
    CursorGoneError,
    CursorInvalidError,
    Event,
    FeedPage,
)

__all__ = [
    "FEED_PATH",
    "MAX_WAIT_SECONDS",
    "CloudEvent",
    "CursorGoneError",
    "CursorInvalidError",
    "Event",
    "FeedPage",
]
