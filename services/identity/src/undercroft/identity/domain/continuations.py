"""Where a page may send somebody next: somewhere on this host, and nowhere else."""

import re
from typing import Final

_LONGEST: Final = 4_096
# Visible ASCII except the backslash, which browsers read as a slash; tabs and line ends, which they drop, are out too.
_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")


def continuation(value: str | None, *, otherwise: str) -> str:
    """Return a path of this host as it was given; anything that a browser might read as another host is replaced."""
    if value is None or len(value) > _LONGEST or not _PATH.fullmatch(value):
        return otherwise
    return value
