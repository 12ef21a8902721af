"""An immutable snapshot of a flag document, compiled for evaluation."""

import gc
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final, TypeAlias

import orjson

from undercroft.flags.domain.evaluation import Answer, Evaluation, not_found
from undercroft.flags.domain.flag_entry import (
    DIGEST_SIZE,
    FlagEntry,
    Frame,
    entry_of,
    entry_of_text,
    object_member,
)
from undercroft.flags.domain.work import WORK_BUDGET, Run

_BULK_WORK_PER_FLAG: Final = 500
_BULK_WORK: Final = 8 * WORK_BUDGET
_MANY_FLAGS: Final = 500
_OK: Final = 200
_NOT_FOUND: Final = 404


Tally: TypeAlias = dict[object, int]
"""Evaluations by what they gave: an Answer, the key of a flag that gave an error, or a FlagSet for all its static flags."""


class FlagSet:
    """A snapshot of flags: evaluates without input or output, safe to share between threads.

    ``version`` is a digest of the definitions: equal versions give equal answers. Flags are compiled when they are
    first asked for, or before that by ``prepare``.
    """

    __slots__ = ("_bulk", "_bulk_tail", "_flags", "_frame", "_pending", "_sum", "metadata", "version")

    def __init__(self, flags: Mapping[str, FlagEntry], frame: Frame, total: int) -> None:
        """Take the flags in the order of their keys; ``total`` is the sum of their fingerprints as numbers."""
        self._flags = flags
        self._frame = frame
        self._sum = total
        self._bulk: Sequence[bytes | FlagEntry] | None = None
        self._pending: Iterator[FlagEntry] = iter(tuple(flags.values()))
        self._bulk_tail = b'],"metadata":' + orjson.dumps(frame.metadata) + b"}"
        self.metadata = frame.metadata
        self.version = _version(frame, total)

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
        granted = min(WORK_BUDGET, remaining)
        fragments: list[bytes] = []
        append = fragments.append
        for part in self._bulk or self._join():
            if isinstance(part, bytes):
                append(part)
                continue
            run.remaining = granted
            answer = part.resolve(data, run)
            append(answer.body)
            if run.remaining != granted:  # most flags ask for nothing that costs
                remaining -= granted - max(run.remaining, 0)
                granted = min(WORK_BUDGET, remaining)
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

    @property
    def is_prepared(self) -> bool:
        """Tell whether a bulk evaluation has nothing to compile any more."""
        return self._bulk is not None

    def prepare(self, at_most: int) -> bool:
        """Compile up to so many flags, and tell whether a bulk evaluation has nothing to compile any more."""
        if self._bulk is not None:
            return True
        for entry in self._pending:
            if not entry.is_compiled:
                entry.compile()
                at_most -= 1
                if at_most <= 0:
                    return False
        self._join()
        return True

    def _join(self) -> Sequence[bytes | FlagEntry]:
        """Join the bodies of neighbours that do not depend on the context."""
        parts: list[bytes | FlagEntry] = []
        static: list[bytes] = []
        for flag in self._flags.values():
            flag.compile()
            if flag.static is not None:
                static.append(flag.static.body)
                continue
            if static:
                parts.append(b",".join(static))
                static = []
            parts.append(flag)
        if static:
            parts.append(b",".join(static))
        self._bulk = parts
        return parts

    def replaced(self, definitions: Mapping[str, str], *, without: Collection[str] = ()) -> "FlagSet":
        """Return the set with some definitions as they are stored now, and without others. Only those are made anew."""
        flags, total, shared = dict(self._flags), self._sum, self._frame.shared()
        for key in without:
            gone = flags.pop(key, None)
            total -= 0 if gone is None else _number(gone)
        for key, text in definitions.items():
            known, made = flags.get(key), entry_of_text(key, text, self._frame, shared)
            if known is None or known.fingerprint != made.fingerprint:
                total += _number(made) - (0 if known is None else _number(known))
                flags[key] = made
        if len(flags) > len(self._flags) or any(key not in self._flags for key in definitions):
            flags = dict(sorted(flags.items()))
        return FlagSet(flags, self._frame, total)

    def entry(self, key: str, fingerprint: bytes) -> FlagEntry | None:
        """Return the flag if it was made from the same definition."""
        flag = self._flags.get(key)
        return flag if flag is not None and flag.fingerprint == fingerprint else None


def compile_flag_set(document: Mapping[str, object], *, previous: FlagSet | None = None) -> FlagSet:
    """Compile a flagd document; flags that are unchanged since ``previous`` are taken from it.

    A broken flag becomes an entry that evaluates to an error. Raises DefinitionError only when ``flags`` or
    ``$evaluators`` is not an object. Metadata that flagd would refuse is left out.
    """
    flags = object_member(document, "flags")
    frame = Frame.of(document)
    shared = frame.shared()
    entries = ((key, entry_of(key, flags[key], frame, shared)) for key in sorted(flags))
    return _collected(entries, len(flags), frame, previous)


def load_flag_set(
    frame: Mapping[str, object], definitions: Mapping[str, str], *, previous: FlagSet | None = None
) -> FlagSet:
    """Make the set of definitions as they are stored, by key, within a document without its flags.

    As compile_flag_set does, but for the texts, which are read only when a flag is compiled.
    """
    common = Frame.of(frame)
    shared = common.shared()
    entries = ((key, entry_of_text(key, text, common, shared)) for key, text in sorted(definitions.items()))
    return _collected(entries, len(definitions), common, previous)


def _collected(
    entries: Iterable[tuple[str, FlagEntry]], number: int, frame: Frame, previous: FlagSet | None
) -> FlagSet:
    flags: dict[str, FlagEntry] = {}
    total = 0
    with _without_collections(number):
        for key, made in entries:
            known = None if previous is None else previous.entry(key, made.fingerprint)
            flags[key] = known or made
            total += _number(made)
    return FlagSet(flags, frame, total)


def _number(entry: FlagEntry) -> int:
    return int.from_bytes(entry.fingerprint, "big")


def _version(frame: Frame, total: int) -> str:
    """Digest a set from the sum of its flags, which a change of one flag changes without reading the others."""
    common = frame.metadata_print + frame.evaluators_print
    size = 8 * DIGEST_SIZE
    return blake2b(
        common + (total % (1 << size)).to_bytes(DIGEST_SIZE, "big"), digest_size=DIGEST_SIZE
    ).hexdigest()


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
