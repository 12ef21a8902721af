"""How targeting in JsonLogic came to its result: every operation that was reached, with what it gave."""

from dataclasses import dataclass
from typing import Final

from undercroft.flags.domain.coercion import is_truthy
from undercroft.flags.domain.explanation import Asker
from undercroft.flags.domain.rule_checks import escape
from undercroft.flags.domain.work import RuleError

MAX_OPERATIONS_SHOWN: Final = 200
_LOOPS: Final = frozenset({"map", "filter", "reduce", "all", "some", "none"})


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationTrace:
    """One operation: where it stands, and its result or the error that it ended in."""

    pointer: str
    operator: str
    result: object = None
    error: str | None = None


def trace_targeting(targeting: object, asker: Asker) -> list[OperationTrace]:
    """Trace targeting from outside in. The bodies of loops are left out: they have no one result."""
    tracer = _Tracer(asker)
    tracer.visit(targeting, "/targeting")
    return tracer.traces


class _Tracer:
    def __init__(self, asker: Asker) -> None:
        self.traces: list[OperationTrace] = []
        self._asker = asker

    def visit(self, source: object, pointer: str) -> None:
        if len(self.traces) >= MAX_OPERATIONS_SHOWN:
            return
        if isinstance(source, list):
            for index, item in enumerate(source):
                self.visit(item, f"{pointer}/{index}")
        if not isinstance(source, dict) or len(source) != 1:
            return
        ((name, given),) = source.items()
        try:
            trace = OperationTrace(pointer=pointer, operator=name, result=self._asker.ask(source))
        except RuleError as error:
            trace = OperationTrace(pointer=pointer, operator=name, error=str(error))
        self.traces.append(trace)
        if name not in {"var", "$ref"}:
            self._descend(name, given if isinstance(given, list) else [given], f"{pointer}/{escape(name)}")

    def _descend(self, name: str, arguments: list[object], pointer: str) -> None:
        if name in {"if", "?:"}:
            self._descend_if(arguments, pointer)
            return
        for index, argument in enumerate(arguments[:1] if name in _LOOPS else arguments):
            self.visit(argument, f"{pointer}/{index}")
            if name in {"and", "or"} and self._is_true(argument) is (name == "or"):
                return

    def _descend_if(self, arguments: list[object], pointer: str) -> None:
        for index in range(0, len(arguments), 2):
            self.visit(arguments[index], f"{pointer}/{index}")
            if index + 1 < len(arguments) and self._is_true(arguments[index]):
                self.visit(arguments[index + 1], f"{pointer}/{index + 1}")
                return

    def _is_true(self, source: object) -> bool:
        try:
            return is_truthy(self._asker.ask(source))
        except RuleError:
            return False
