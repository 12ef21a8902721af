"""Side by side: this project's flag engine and PyPI openfeature-flagd-core, rule by rule, in one process.

    uv run python tests/bench/flags_engine.py [--seconds 0.3]

Prints microseconds per evaluation of each and their ratio: compare columns of one run, never runs. Every rule is
evaluated for several users, so that no branch is always the same. Then what only this engine does: a bulk answer, and
loading many flags.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from undercroft.flags.domain import FlagSet, compile_flag_set

IS_PAYING = {"in": [{"var": "plan"}, ["team", "business", "enterprise", "partner", "reseller"]]}
SPLIT = {"fractional": [{"var": "targetingKey"}, ["on", 25], ["off", 75]]}
RULES: Mapping[str, object] = {
    "no targeting": None,
    "one comparison": {"if": [{"==": [{"var": "plan"}, "team"]}, "on", "off"]},
    "if/and/in/fractional": {
        "if": [{"and": [{"==": [{"var": "country"}, "CH"]}, IS_PAYING]}, SPLIT, "off"],
    },
    "shared evaluator, dotted path": {
        "if": [{"and": [{"$ref": "is_paying"}, {">": [{"var": "org.seats"}, 5]}]}, "on", None]
    },
    "seeded split": {
        "fractional": [{"cat": [{"var": "$flagd.flagKey"}, {"var": "user.email"}]}, ["on", 1], ["off", 1]]
    },
    "version": {"if": [{"sem_ver": [{"var": "version"}, ">=", "2.1.0"]}, "on", "off"]},
    "five else-ifs": {
        "if": [
            *(
                part
                for code in ("AT", "DE", "FR", "IT")
                for part in ({"==": [{"var": "country"}, code]}, "off")
            ),
            {"ends_with": [{"var": "user.email"}, "@example.com"]},
            "on",
        ]
    },
    "loop over ten": {"if": [{"some": [{"var": "groups"}, {"==": [{"var": "id"}, 9]}]}, "on", "off"]},
}
CONTEXTS: list[dict[str, Any]] = [
    {
        "targetingKey": f"user-{number:06}",
        "plan": plan,
        "country": "CH",
        "version": f"2.{number % 4}.0",
        "org": {"seats": number},
        "user": {"email": f"user-{number}@example.com"},
        "groups": [{"id": item} for item in range(10)],
    }
    for number, plan in enumerate(["free", "team", "business", "team", "enterprise", "team", "team", "team"])
]
BULK_FLAGS, BULK_SEGMENTS, LOADED_FLAGS = 50, 15, 10_000


def document(rules: Mapping[str, object]) -> dict[str, object]:
    """Build a flagd document of boolean flags from targeting rules."""
    flags = {
        key: {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "off",
            **({"targeting": rule} if rule else {}),
        }
        for key, rule in rules.items()
    }
    return {"flags": flags, "$evaluators": {"is_paying": IS_PAYING}}


def microseconds(call: Callable[[], object], seconds: float) -> float:
    """Time the fastest of several batches of a call, in microseconds of one."""
    best, deadline = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        start = time.perf_counter()
        for _ in range(20):
            call()
        best = min(best, (time.perf_counter() - start) / 20)
    return best * 1e6


def compare(key: str, engine: FlagSet, reference: FlagdCore, seconds: float) -> None:
    """Print the row of one rule."""
    asked = [
        EvaluationContext(
            str(context["targetingKey"]),
            {name: value for name, value in context.items() if name != "targetingKey"},
        )
        for context in CONTEXTS
    ]
    count = len(CONTEXTS)
    ours = (
        microseconds(lambda: [engine.evaluate(key, context, now=0) for context in CONTEXTS], seconds) / count
    )
    rendered = (
        microseconds(lambda: [engine.render(key, context, now=0) for context in CONTEXTS], seconds) / count
    )
    theirs = (
        microseconds(
            lambda: [
                reference.resolve_boolean_value(key, default_value=False, ctx=context) for context in asked
            ],
            seconds,
        )
        / count
    )
    print(f"{key:32}{ours:10.2f}{rendered:10.2f}{theirs:12.2f}{theirs / ours:9.1f} x")


def bulk() -> FlagSet:
    """Build the environment of the bulk: every flag asks a segment, every third splits what it finds."""
    segments = {
        f"segment_{number}": {"in": [{"var": "country"}, ["CH", "DE", str(number)]]}
        for number in range(BULK_SEGMENTS)
    }
    rules = {
        f"flag-{number}": {
            "if": [{"$ref": f"segment_{number % BULK_SEGMENTS}"}, SPLIT if number % 3 == 0 else "on", "off"]
        }
        for number in range(BULK_FLAGS)
    }
    return compile_flag_set({**document(rules), "$evaluators": segments})


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.3, help="time for each measurement")
    seconds = parser.parse_args().seconds
    definitions = document(RULES)
    engine, reference = compile_flag_set(definitions), FlagdCore()
    reference.set_flags(json.dumps(definitions))
    print(f"{'microseconds per evaluation':32}{'evaluate':>10}{'render':>10}{'flagd-core':>12}{'ratio':>11}")
    for key in RULES:
        compare(key, engine, reference, seconds)
    environment = bulk()
    each = microseconds(lambda: environment.render_all(CONTEXTS[1], now=0), seconds)
    print(
        f"\nbulk of {BULK_FLAGS} flags with {BULK_SEGMENTS} segments: {each:.0f} microseconds, {1e6 / each:,.0f}/s"
    )
    many = document({f"flag-{number}": RULES["if/and/in/fractional"] for number in range(LOADED_FLAGS)})
    start = time.perf_counter()
    loaded = compile_flag_set(many)
    between = time.perf_counter()
    loaded.prepare(LOADED_FLAGS + 1)
    prepared = time.perf_counter()
    compile_flag_set(many, previous=loaded)
    again = time.perf_counter() - prepared
    print(
        f"{LOADED_FLAGS:,} flags: {between - start:.2f} s to load, {prepared - between:.2f} s to compile them all, "
        f"{again:.2f} s to load again"
    )


if __name__ == "__main__":
    main()
