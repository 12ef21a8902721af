"""JsonLogic's access to the context: ``var``, ``missing`` and ``missing_some``."""

from collections.abc import Iterable, Sequence
from typing import Final

from undercroft.flags.domain.coercion import to_number, to_string
from undercroft.flags.domain.work import Run

_MAX_INDEX_DIGITS: Final = 9


def follow(data: object, path: Iterable[str], default: object = None) -> object:
    """Follow names and indexes into nested objects, lists and strings; null counts as absent."""
    for name in path:
        if isinstance(data, dict):
            data = data.get(name)
        elif isinstance(data, (list, str)):
            if name == "length":
                return len(data)
            data = _item(data, _index(name))
        else:
            return default
    return default if data is None else data


def _index(name: str) -> int:
    """Read an index as JavaScript writes it (no sign, no leading zero), -1 for anything else."""
    is_index = name.isascii() and name.isdigit() and (name == "0" or name[0] != "0")
    return int(name) if is_index and len(name) <= _MAX_INDEX_DIGITS else -1


def _item(items: list[object] | str, index: int) -> object:
    return items[index] if 0 <= index < len(items) else None


def look_up(data: object, run: Run, key: object = None, default: object = None, *_ignored: object) -> object:
    """Resolve a computed ``var`` key: a dotted path, an index, or nothing for the whole data."""
    if key is None or key == "":
        return data
    if isinstance(key, (int, float)):
        return _numbered(data, key, default)
    path = to_string(key, run)
    run.charge_text(len(path))
    return follow(data, path.split("."), default)


def _numbered(data: object, key: float, default: object) -> object:
    if not isinstance(data, (list, str)) or not 0 <= key < len(data) or key != int(key):
        return default
    return data[int(key)]


def missing(data: object, run: Run, *keys: object) -> list[object]:
    """Return the keys that are absent, null or empty; one list may be given instead of several keys."""
    wanted: Sequence[object] = keys[0] if keys and isinstance(keys[0], list) else keys
    run.charge(len(wanted))
    return [key for key in wanted if look_up(data, run, key) in (None, "")]


def missing_some(
    data: object, run: Run, needed: object = 0, keys: object = None, *_ignored: object
) -> list[object]:
    """Return the missing keys, or nothing when at least ``needed`` of them are present."""
    if not isinstance(keys, list):
        return []
    absent = missing(data, run, keys)
    return [] if len(keys) - len(absent) >= to_number(needed) else absent
