"""An immutable snapshot of a flag document, compiled for evaluation."""

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final, TypeAlias

import orjson

from undercroft.flags.domain.definition import (
    NO_METADATA,
    FlagEntry,
    Shared,
    compile_definition,
    is_metadata,
)
from undercroft.flags.domain.evaluation import Answer, ErrorCode, Evaluation, Metadata, failure, not_found
from undercroft.flags.domain.problems import DefinitionError, Problem
from undercroft.flags.domain.work import WORK_BUDGET, Run

_BULK_WORK_PER_FLAG: Final = 500
_BULK_WORK: Final = 8 * WORK_BUDGET
_DIGEST_SIZE: Final = 16
_UNREADABLE: Final = b""
_MANY_FLAGS: Final = 500
_OK: Final = 200
_NOT_FOUND: Final = 404


Tally: TypeAlias = dict[object, int]
"""Evaluations by what they gave: an Answer, the key of a flag that gave an error, or a FlagSet for all its static flags."""


class FlagSet:
    """A snapshot of flags: evaluates without input or output, safe to share between threads.

    ``version`` is a digest of the definitions: equal versions give equal answers.
    """

    __slots__ = ("_bulk", "_bulk_tail", "_flags", "metadata", "version")

    def __init__(self, flags: Mapping[str, FlagEntry], metadata: Metadata, version: str) -> None:
        self._flags = flags
        self._bulk = _joined_static(flags.values())
        self._bulk_tail = b'],"metadata":' + orjson.dumps(metadata) + b"}"
        self.metadata = metadata
        self.version = version

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all flags, sorted."""
        return tuple(self._flags)

    def __len__(self) -> int:
        """Count the flags."""
        return len(self._flags)

    def __contains__(self, key: object) -> bool:
        """Tell whether there is a flag of this key."""
        return key in self._flags

    def evaluate(self, key: str, context: Mapping[str, object], *, now: int) -> Evaluation:
        """Evaluate a flag; ``context`` is OFREP's, targetingKey included, and ``now`` is in unix seconds.

        Never raises: what is wrong with the flag or the context is in the evaluation.
        """
        return self._answer(key, context, now).evaluation

    def render(
        self, key: str, context: Mapping[str, object], *, now: int, tally: Tally | None = None
    ) -> tuple[int, bytes]:
        """Evaluate a flag into the status and the JSON body of OFREP's single evaluation; count it in the tally."""
        answer = self._answer(key, context, now)
        if tally is not None and answer.status != _NOT_FOUND:
            counted = answer if answer.status == _OK else key
            tally[counted] = tally.get(counted, 0) + 1
        return answer.status, answer.body

    def render_all(
        self, context: Mapping[str, object], *, now: int, tally: Tally | None = None, weight: int = 1
    ) -> bytes:
        """Evaluate every flag into the JSON body of OFREP's bulk evaluation, ordered by key.

        With a tally, each evaluation is counted in it ``weight`` times.
        """
        data = context if isinstance(context, dict) else dict(context)
        run = Run(now)
        remaining = _BULK_WORK + _BULK_WORK_PER_FLAG * len(self._flags)
        fragments: list[bytes] = []
        for part in self._bulk:
            if isinstance(part, bytes):
                fragments.append(part)
                continue
            granted = run.remaining = min(WORK_BUDGET, remaining)
            answer = part.resolve(data, run)
            fragments.append(answer.body)
            remaining -= granted - max(run.remaining, 0)
            if tally is not None:
                counted = answer if answer.status == _OK else answer.evaluation.key
                tally[counted] = tally.get(counted, 0) + weight
        if tally is not None:
            tally[self] = tally.get(self, 0) + weight
        return b'{"flags":[' + b",".join(fragments) + self._bulk_tail

    def _answer(self, key: str, context: Mapping[str, object], now: int) -> Answer:
        flag = self._flags.get(key)
        if flag is None:
            return not_found(key)
        if flag.static is not None:
            return flag.static
        return flag.resolve(context if isinstance(context, dict) else dict(context), Run(now))

    @property
    def static_evaluations(self) -> Sequence[Evaluation]:
        """What the flags give whose context does not matter."""
        return [flag.static.evaluation for flag in self._flags.values() if flag.static is not None]

    def entry(self, key: str, fingerprint: bytes) -> FlagEntry | None:
        """Return the compiled flag if it was made from the same definition (for compile_flag_set)."""
        flag = self._flags.get(key)
        return flag if flag is not None and flag.fingerprint == fingerprint != _UNREADABLE else None


def _joined_static(flags: Iterable[FlagEntry]) -> Sequence[bytes | FlagEntry]:
    """Join the bodies of neighbours that do not depend on the context."""
    parts: list[bytes | FlagEntry] = []
    static: list[bytes] = []
    for flag in flags:
        if flag.static is not None:
            static.append(flag.static.body)
            continue
        if static:
            parts.append(b",".join(static))
            static = []
        parts.append(flag)
    return [*parts, b",".join(static)] if static else parts


def compile_flag_set(document: Mapping[str, object], *, previous: FlagSet | None = None) -> FlagSet:
    """Compile a flagd document; flags that are unchanged since ``previous`` are taken from it.

    A broken flag becomes an entry that evaluates to an error. Raises DefinitionError only when ``flags`` or
    ``$evaluators`` is not an object. Metadata that flagd would refuse is left out.
    """
    flags = _object(document, "flags")
    evaluators = _object(document, "$evaluators")
    given = document.get("metadata")
    metadata = given if is_metadata(given) and _canonical(given) is not None else NO_METADATA
    metadata_print, evaluators_print = _fingerprint(metadata), _fingerprint(evaluators)
    digest = blake2b(metadata_print + evaluators_print, digest_size=_DIGEST_SIZE)
    shared = Shared(evaluators, metadata)
    entries: dict[str, FlagEntry] = {}
    with _without_collections(len(flags)):
        for key in sorted(flags):
            fingerprint = _flag_fingerprint([key, flags[key]], metadata_print, evaluators_print)
            known = previous.entry(key, fingerprint) if previous is not None else None
            entries[key] = known or _compile_entry(key, flags[key], shared, fingerprint)
            digest.update(fingerprint)
    return FlagSet(entries, metadata, digest.hexdigest())


@contextmanager
def _without_collections(flags: int) -> Iterator[None]:
    """Pause garbage collection for a large load: it would search everything just made, over and over (3 times slower)."""
    is_pausing = flags > _MANY_FLAGS and gc.isenabled()
    if is_pausing:
        gc.disable()
    try:
        yield
    finally:
        if is_pausing:
            gc.enable()


def _compile_entry(key: str, definition: object, shared: Shared, fingerprint: bytes) -> FlagEntry:
    if fingerprint == _UNREADABLE:
        detail = "Invalid flag definition: it is not JSON, or nested too deep"
        return FlagEntry(fingerprint, failure(key, ErrorCode.PARSE_ERROR, detail, shared.metadata))
    return FlagEntry(fingerprint, compile_definition(key, definition, shared))


def _object(document: Mapping[str, object], member: str) -> Mapping[str, object]:
    value = document.get(member)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DefinitionError((Problem(f"/{member}", "must be an object", "wrong_type"),))
    return value


def _flag_fingerprint(flag: list[object], metadata_print: bytes, evaluators_print: bytes) -> bytes:
    """Digest what a flag is made from; the evaluators only if it may refer to one. Empty for what is not JSON."""
    canonical = _canonical(flag)
    if canonical is None:
        return _UNREADABLE
    referred = evaluators_print if b'"$ref"' in canonical else b""
    return blake2b(metadata_print + referred + canonical, digest_size=_DIGEST_SIZE).digest()


def _fingerprint(value: object) -> bytes:
    canonical = _canonical(value)
    return blake2b(
        repr(value).encode() if canonical is None else canonical, digest_size=_DIGEST_SIZE
    ).digest()


def _canonical(value: object) -> bytes | None:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return None
