"""What happens to signing keys."""

from datetime import datetime

from undercroft.shared.events import Event
from undercroft.shared.serialization import format_timestamp


def signing_key_rotated(kid: str, *, algorithm: str, signs_from: datetime, actor: str) -> Event:
    """Tell that a key was published, and from when on it signs."""
    return Event(
        type="dev.undercroft.signing_key.rotated",
        subject=kid,
        data={"algorithm": algorithm, "signsFrom": format_timestamp(signs_from)},
        actor=actor,
    )
