"""Use case: an evaluation as a trace. Reads what is stored, not the snapshot: a change is explained at once."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Literal, NamedTuple, cast

from undercroft.flags.domain.authoring import Absence, Surroundings, is_by_rules, read_rules
from undercroft.flags.domain.evaluation import NO_VALUE, Evaluation, Reason
from undercroft.flags.domain.explanation import Asker, RuleTrace, trace_rules
from undercroft.flags.domain.flag_set import compile_flag_set
from undercroft.flags.domain.problems import Problems
from undercroft.flags.domain.segments import compile_segments, read_segment
from undercroft.flags.domain.targeting_trace import trace_targeting
from undercroft.flags.errors import DefinitionNotFoundError
from undercroft.flags.models import Environment
from undercroft.flags.repository.definitions import Placed
from undercroft.flags.schemas.explanations import (
    ExplainRequest,
    Explanation,
    OperationExplained,
    PrerequisiteExplained,
    RuleExplained,
)
from undercroft.flags.schemas.names import JsonObject
from undercroft.flags.service.plans import evaluators_of
from undercroft.flags.service.work import Repositories

_Decider = Literal["state", "prerequisites", "rule", "targeting", "default", "error"]


class _Subject(NamedTuple):
    """What is explained: a flag in an environment, for a context and a time in unix seconds."""

    key: str
    environment: Environment
    placed: Placed
    context: JsonObject
    now: int

    def evaluate(self, key: str, content: Mapping[str, object]) -> Evaluation:
        document = {**self.environment.frame, "flags": {key: content}}
        return compile_flag_set(document).evaluate(key, self.context, now=self.now)

    @property
    def asker(self) -> Asker:
        return Asker(self.key, evaluators_of(self.environment.frame), self.context, now=self.now)


class ExplanationService:
    """Explains evaluations."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories

    async def explain(self, key: str, environment_key: str, request: ExplainRequest) -> Explanation:
        """Return the trace of an evaluation; raises `DefinitionNotFoundError` when there is nothing to evaluate."""
        flag = await self._repositories.flags.get(key)
        environment = await self._repositories.environments.get(environment_key)
        placed = await self._repositories.definitions.find(environment.id, flag.id)
        if placed is None or flag.archived_at is not None:
            raise DefinitionNotFoundError(f"{key} is not defined in {environment_key}.")
        at = request.at or datetime.now(UTC)
        subject = _Subject(key, environment, placed, request.context, int(at.timestamp()))
        if is_by_rules(placed.written):
            return await self._by_rules(subject)
        evaluation = subject.evaluate(key, placed.content)
        operations = trace_targeting(placed.content.get("targeting"), subject.asker)
        decided_by: _Decider = "targeting" if evaluation.reason is Reason.TARGETING_MATCH else "default"
        explained = [OperationExplained.model_validate(asdict(operation)) for operation in operations]
        return _explanation(subject, evaluation, decided_by).model_copy(update={"targeting": explained})

    async def _by_rules(self, subject: _Subject) -> Explanation:
        stored = await self._repositories.segments.all()
        definitions = {key: segment.definition for key, segment in stored.items()}
        others = await self._repositories.definitions.among(subject.environment.id, subject.placed.requires)
        flags: Mapping[str, Mapping[str, object] | Absence] = {
            key: other.content for key, other in others.items()
        }
        around = Surroundings(
            evaluators=evaluators_of(subject.environment.frame),
            segments=compile_segments(definitions),
            flags=flags,
        )
        rules, tests = read_rules(subject.key, subject.placed.written, around, Problems())
        asker = subject.asker
        prerequisites = [
            PrerequisiteExplained(
                flag=each.flag,
                wanted=list(each.variants),
                variant=subject.evaluate(each.flag, others[each.flag].content).variant or None,
                holds=asker.holds(test),
            )
            for each, test in zip(rules.prerequisites, tests, strict=True)
        ]
        is_met = all(each.holds for each in prerequisites)
        segments = {key: read_segment(each, definitions, Problems()) for key, each in definitions.items()}
        traces = trace_rules(subject.key, rules.rules, segments, asker, is_reached=is_met)
        deciding = next((trace for trace in traces if trace.is_reached and trace.applies), None)
        evaluation = subject.evaluate(subject.key, subject.placed.content)
        decided_by = _decider(deciding, is_met=is_met)
        return _explanation(subject, evaluation, decided_by, deciding).model_copy(
            update={
                "prerequisites": prerequisites,
                "rules": [RuleExplained.model_validate(asdict(trace)) for trace in traces],
            }
        )


def _decider(deciding: RuleTrace | None, *, is_met: bool) -> _Decider:
    if not is_met:
        return "prerequisites"
    return "rule" if deciding is not None else "default"


def _explanation(
    subject: _Subject, evaluation: Evaluation, decided_by: _Decider, deciding: RuleTrace | None = None
) -> Explanation:
    if evaluation.reason is Reason.DISABLED:
        decided_by, deciding = "state", None
    elif evaluation.reason is Reason.ERROR:
        decided_by, deciding = "error", None
    return Explanation(
        key=subject.key,
        environment=subject.environment.key,
        variant=evaluation.variant or None,
        reason=evaluation.reason.value,
        error_code=evaluation.error_code,
        error_details=evaluation.error_details or None,
        decided_by=decided_by,
        rule=None if deciding is None else deciding.index,
        because=_sentence(decided_by, deciding, evaluation),
        prerequisites=[],
        rules=[],
        targeting=[],
        **({} if evaluation.value is NO_VALUE else {"value": cast("JsonObject", evaluation.value)}),
    )


def _sentence(decided_by: _Decider, deciding: RuleTrace | None, evaluation: Evaluation) -> str:
    if deciding is not None:
        named = f" ({deciding.name})" if deciding.name else ""
        return f"Rule {deciding.index}{named} is the first that applies; it leads to {evaluation.variant}."
    return {
        "state": "The flag is disabled: the caller's own default applies.",
        "prerequisites": "A prerequisite does not hold.",
        "targeting": f"The targeting gave {evaluation.variant}.",
        "error": evaluation.error_details,
    }.get(decided_by, "No rule applies: the default variant is served, or the caller's own without one.")
