"""What a browser calls itself, in words that people know."""

from typing import Final

# The first that is named wins: Edge and Opera also claim to be Chrome, and Chrome to be Safari.
_BROWSERS: Final = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
    ("python-httpx", "HTTPX"),
)
_SYSTEMS: Final = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def describe_user_agent(user_agent: str) -> str:
    """Return a browser and a system such as `Firefox on Linux`, as far as they can be told."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), None)
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), None)
    match (browser, system):
        case (None, None):
            return "Unknown device"
        case (None, str()):
            return f"A device with {system}"
        case (str(), None):
            return browser
        case _:
            return f"{browser} on {system}"
