"""Replays flagd's evaluator suite (gherkin) against the engine; the suite lies beside the repository."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from undercroft.flags.domain import NO_VALUE, Evaluation, FlagSet, compile_flag_set, validate_document

# Rows about the operator's earlier versions: version 3 buckets differently (test_fractional has its vectors). The
# scenarios without such a tag that depend on the bucket were written for version 2.
OTHER_VERSIONS = {"@fractional-v1", "@fractional-v2"}
VERSION_2_SCENARIOS = {
    "Fractional operator with nested if expression as variant name",
    "Fractional operator with nested var expression as variant name",
}
CONVERSIONS: dict[str, Callable[[str], object]] = {
    "Boolean": lambda text: text == "true",
    "String": str,
    "Integer": int,
    "Float": float,
    "Object": lambda text: json.loads(text.replace('\\"', '"')),
}


@dataclass
class Scenario:
    """A scenario with the background's steps and its tags; ``examples`` are the rows of its tables."""

    name: str
    tags: set[str]
    steps: list[str]
    tables: list[tuple[set[str], list[list[str]]]] = field(default_factory=list)
    step_tables: dict[int, list[list[str]]] = field(default_factory=dict)

    def cases(self) -> Iterator[tuple[list[str], set[str]]]:
        """Give the steps of every example row, or the steps as they are."""
        if not self.tables:
            yield self.steps, self.tags
        for tags, (header, *rows) in self.tables:
            for row in rows:
                values = dict(zip(header, row, strict=True))
                yield [_filled(step, values) for step in self.steps], self.tags | tags


def _filled(step: str, values: Mapping[str, str]) -> str:
    return re.sub(r"<(\w+)>", lambda match: values[match[1]], step)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read_feature(text: str) -> list[Scenario]:
    """Read the subset of gherkin that the suite uses."""
    scenarios: list[Scenario] = []
    background: list[str] = []
    steps, tags = background, set[str]()
    for line in map(str.strip, text.splitlines()):
        word, _, rest = line.partition(" ")
        if line.startswith("@"):
            tags = set(line.split())
        elif word.startswith("Scenario"):
            steps = list(background)
            scenarios.append(Scenario(line.partition(": ")[2], tags, steps))
            tags = set()
        elif word == "Feature:":
            tags = set()
        elif word == "Examples:":
            scenarios[-1].tables.append((tags, []))
            tags = set()
        elif line.startswith("|") and scenarios[-1].tables:
            scenarios[-1].tables[-1][1].append(_cells(line))
        elif line.startswith("|"):
            scenarios[-1].step_tables.setdefault(len(steps) - 1, []).append(_cells(line))
        elif word in {"Given", "And", "When", "Then"}:
            steps.append(rest)
    return scenarios


class Replay:
    """The steps of the suite over one flag set."""

    def __init__(self, flags: FlagSet) -> None:
        self.flags = flags
        self.context: dict[str, object] = {}
        self.key = self.type = self.fallback = ""
        self.evaluation: Evaluation | None = None

    def run(self, steps: list[str], step_tables: Mapping[int, list[list[str]]]) -> None:
        for index, step in enumerate(steps):
            self.step(step, step_tables.get(index, []))

    def step(self, text: str, table: list[list[str]]) -> None:
        for pattern, perform in STEPS.items():
            match = re.fullmatch(pattern, text)
            if match is not None:
                perform(self, match, table)
                return
        raise AssertionError(text)

    def ask_for(self, match: re.Match[str], _table: list[list[str]]) -> None:
        self.type, self.key, self.fallback = match.groups()

    def add_to_context(self, match: re.Match[str], _table: list[list[str]]) -> None:
        self.context[match[1]] = CONVERSIONS[match[2]](match[3])

    def add_targeting_key(self, match: re.Match[str], _table: list[list[str]]) -> None:
        self.context["targetingKey"] = match[1]

    def add_nested(self, match: re.Match[str], _table: list[list[str]]) -> None:
        self.context[match[1]] = {match[2]: match[3]}

    def evaluate(self, _match: re.Match[str], _table: list[list[str]]) -> None:
        self.evaluation = self.flags.evaluate(self.key, self.context, now=0)

    def check_value(self, match: re.Match[str], _table: list[list[str]]) -> None:
        assert self.value == CONVERSIONS[self.type](match[1])

    def check_reason(self, match: re.Match[str], _table: list[list[str]]) -> None:
        assert self.result.reason == match[1]

    def check_error(self, match: re.Match[str], _table: list[list[str]]) -> None:
        assert self.error_code == match[1]

    def check_metadata(self, _match: re.Match[str], table: list[list[str]]) -> None:
        assert self.result.metadata == {name: CONVERSIONS[kind](value) for name, kind, value in table[1:]}

    def do_nothing(self, _match: re.Match[str], _table: list[list[str]]) -> None:
        pass

    @property
    def result(self) -> Evaluation:
        assert self.evaluation is not None
        return self.evaluation

    @property
    def value(self) -> object:
        """The value that a typed client returns: its own default when there is none."""
        return CONVERSIONS[self.type](self.fallback) if self.result.value is NO_VALUE else self.result.value

    @property
    def error_code(self) -> str | None:
        """The error code of a typed client, which compares the type itself."""
        mismatched = self.type == "Integer" and isinstance(self.result.value, str)
        return "TYPE_MISMATCH" if mismatched else self.result.error_code


STEPS: dict[str, Callable[[Replay, re.Match[str], list[list[str]]], None]] = {
    r"an evaluator": Replay.do_nothing,
    r'a (\w+)-flag with key "(.*)" and a fallback value "(.*)"': Replay.ask_for,
    r'a context containing a key "(.*)", with type "(.*)" and with value "(.*)"': Replay.add_to_context,
    r'a context containing a targeting key with value "(.*)"': Replay.add_targeting_key,
    r'a context .* nested property with outer key "(.*)" and inner key "(.*)", with value "(.*)"': Replay.add_nested,
    r"the flag was evaluated with details": Replay.evaluate,
    r'the resolved details value should be "(.*)"': Replay.check_value,
    r'the reason should be "(.*)"': Replay.check_reason,
    r'the error-code should be "(.*)"': Replay.check_error,
    r"the resolved metadata (?:is empty|should contain)": Replay.check_metadata,
}


def test_the_suite_of_flagd_passes(specifications: Path):
    folder = specifications / "flagd-testbed" / "evaluator"
    flags = compile_flag_set(json.loads((folder / "testkit-flags.json").read_text()))
    replayed = 0
    for path in sorted(folder.glob("*.feature")):
        for scenario in read_feature(path.read_text()):
            for steps, tags in scenario.cases():
                if not tags & OTHER_VERSIONS and scenario.name not in VERSION_2_SCENARIOS:
                    Replay(flags).run(steps, scenario.step_tables)
                    replayed += 1
    assert replayed > 80


def test_the_definitions_of_the_suite_can_be_imported(specifications: Path):
    document = json.loads((specifications / "flagd-testbed" / "evaluator" / "testkit-flags.json").read_text())

    validate_document(document, is_lenient=True)


@pytest.mark.parametrize("text", ["Feature: f\n\nScenario: s\n  Given an evaluator\n  When it rains"])
def test_an_unknown_step_fails(text: str):
    scenario = read_feature(text)[0]

    with pytest.raises(AssertionError, match="it rains"):
        Replay(compile_flag_set({})).run(scenario.steps, {})
