"""Reads the part of Gherkin that the flagd testbed uses: backgrounds, outlines with tagged examples, step tables."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Scenario:
    """One runnable scenario: an outline's row is a scenario of its own."""

    name: str
    tags: frozenset[str]
    steps: list["Step"] = field(default_factory=list)


@dataclass
class Step:
    """One step; `table` holds the rows below it, header first."""

    text: str
    table: list[list[str]] = field(default_factory=list)


@dataclass
class _Block:
    keyword: str
    name: str
    tags: frozenset[str]
    steps: list[Step] = field(default_factory=list)
    examples: list[tuple[frozenset[str], list[list[str]]]] = field(default_factory=list)


def read_scenarios(path: Path) -> Iterator[Scenario]:
    """Yield every scenario of a feature file with its placeholders filled in."""
    feature_tags, blocks = _parse(path.read_text().splitlines())
    background = [step for block in blocks if block.keyword == "Background" for step in block.steps]
    for block in blocks:
        if block.keyword == "Background":
            continue
        tags = feature_tags | block.tags
        if not block.examples:
            yield Scenario(block.name, tags, background + block.steps)
        for example_tags, (header, *rows) in block.examples:
            for row in rows:
                values = dict(zip(header, row, strict=True))
                steps = [_fill(step, values) for step in background + block.steps]
                yield Scenario(f"{block.name} {values}", tags | example_tags, steps)


def _parse(lines: list[str]) -> tuple[frozenset[str], list[_Block]]:
    feature_tags: frozenset[str] = frozenset()
    blocks: list[_Block] = []
    pending: set[str] = set()
    table: list[list[str]] | None = None
    for line in (raw.strip() for raw in lines):
        keyword, _, rest = line.partition(":")
        if not line or line.startswith("#"):
            continue
        if line.startswith("@"):
            pending |= set(line.split())
        elif keyword == "Feature":
            feature_tags, pending = frozenset(pending), set()
        elif keyword in {"Background", "Scenario", "Scenario Outline"}:
            blocks.append(_Block(keyword, rest.strip(), frozenset(pending)))
            pending, table = set(), None
        elif keyword == "Examples":
            table = []
            blocks[-1].examples.append((frozenset(pending), table))
            pending = set()
        elif line.startswith("|"):
            row = [cell.strip().replace("\\|", "|") for cell in line[1:-1].split("|")]
            (blocks[-1].steps[-1].table if table is None else table).append(row)
        elif line.split(" ", 1)[0] in {"Given", "When", "Then", "And", "But"}:
            blocks[-1].steps.append(Step(line.split(" ", 1)[1]))
    return feature_tags, blocks


def _fill(step: Step, values: dict[str, str]) -> Step:
    text, table = step.text, [list(row) for row in step.table]
    for name, value in values.items():
        text = text.replace(f"<{name}>", value)
        table = [[cell.replace(f"<{name}>", value) for cell in row] for row in table]
    return Step(text, table)
