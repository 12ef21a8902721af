"""What scopes mean, in the words of a consent page."""

from collections.abc import Collection
from typing import Final

_WORDS: Final = {
    "openid": "Know who you are",
    "profile": "See your name, language and time zone",
    "email": "See your e-mail address",
    "offline_access": "Keep this access while you are away",
    "identity:read": "See the organization and its members",
    "identity:write": "Change the organization and its members",
    "identity:api_keys": "Manage API keys of the organization",
    "flags:evaluate": "Evaluate feature flags",
    "usage:read": "See usage and plans",
    "usage:write": "Change usage and plans",
    "usage:ingest": "Report usage",
    "webhooks:read": "See webhooks and their deliveries",
    "webhooks:write": "Change webhooks",
    "webhooks:send": "Send messages to webhooks",
}


def words_for(scopes: Collection[str]) -> list[str]:
    """Return one line for each scope, what concerns the person first."""
    return [words for scope, words in _WORDS.items() if scope in scopes]
