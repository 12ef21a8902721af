"""What both servers are asked about: 50 flags, 15 segments, a context of 15 traits."""

import json
from collections.abc import Mapping
from typing import Final

FLAGS: Final = 50
SEGMENTS: Final = 15
COUNTRIES: Final = ("CH", "DE", "FR", "AT", "IT")
SPLIT: Final = {"fractional": [{"var": "targetingKey"}, ["on", 25], ["off", 75]]}
TRAITS: Final[Mapping[str, object]] = {
    "country": "CH",
    "plan": "team",
    "email": "ada@example.com",
    "version": "2.3.1",
    "language": "de",
    "device": "phone",
    "os": "linux",
    "browser": "firefox",
    "region": "eu-central",
    "seats": 12,
    "age_days": 417,
    "is_admin": False,
    "cohort": "2026-11",
    "channel": "organic",
    "currency": "CHF",
}
"""The 15 traits; the targeting key comes on top."""


def segment_members(number: int) -> list[str]:
    """Return the countries of a segment: two of three segments hold our user."""
    return [*(COUNTRIES if number % 3 else COUNTRIES[1:]), f"X{number}"]


def flagd_document(flags: int = FLAGS) -> dict[str, object]:
    """Build a flagd document: every flag asks a segment, every third splits what it finds."""
    evaluators = {
        f"segment_{number}": {
            "and": [
                {"in": [{"var": "country"}, segment_members(number)]},
                {">": [{"var": "seats"}, number % 5]},
            ]
        }
        for number in range(SEGMENTS)
    }
    definitions = {
        f"flag-{number:05}": {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "off",
            "targeting": {
                "if": [
                    {"$ref": f"segment_{number % SEGMENTS}"},
                    SPLIT if number % 3 == 0 else "on",
                    "off",
                ]
            },
        }
        for number in range(flags)
    }
    return {"flags": definitions, "$evaluators": evaluators}


def context(number: int = 0) -> dict[str, object]:
    """Build the evaluation context of a user."""
    return {"targetingKey": f"user-{number:06}", **TRAITS}


def ofrep_body(number: int = 0) -> str:
    """Build the body of an OFREP request."""
    return json.dumps({"context": context(number)}, separators=(",", ":"))
