"""A flag of a snapshot: what identifies it, and how it is compiled when somebody first asks for it."""

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from json import JSONDecodeError
from typing import Final, Self

import orjson

from undercroft.flags.domain.definition import (
    NO_METADATA,
    Resolve,
    Shared,
    compile_definition,
    is_metadata,
)
from undercroft.flags.domain.evaluation import Answer, ErrorCode, Metadata, failure
from undercroft.flags.domain.problems import DefinitionError, Problem
from undercroft.flags.domain.work import Run

DIGEST_SIZE: Final = 16

_UNREADABLE: Final = "Invalid flag definition: it is not JSON, or nested too deep"
# A definition without any of these cannot refer to an evaluator: `"$ref"`, plain or escaped.
_REFERENCE_MARKS: Final = (b'"$ref"', b"\\u")


class Frame:
    """What the flags of a document have in common, with digests of it. Metadata that flagd would refuse is left out."""

    __slots__ = ("evaluators", "evaluators_print", "metadata", "metadata_print")

    def __init__(self, evaluators: Mapping[str, object], metadata: Metadata) -> None:
        self.evaluators = evaluators
        self.metadata = metadata
        self.metadata_print = _fingerprint(metadata)
        self.evaluators_print = _fingerprint(evaluators)

    @classmethod
    def of(cls, document: Mapping[str, object]) -> Self:
        """Read the frame of a document; raises DefinitionError when ``$evaluators`` is not an object."""
        given = document.get("metadata")
        metadata = given if is_metadata(given) and canonical(given) is not None else NO_METADATA
        return cls(object_member(document, "$evaluators"), metadata)

    def shared(self) -> Shared:
        """Return what compiling needs. A fresh one for each load: what it keeps of flags ends with them."""
        return Shared(self.evaluators, self.metadata)

    def fingerprint(self, key: str, definition: bytes) -> bytes:
        """Digest everything a flag is made from; the evaluators only if it may refer to one."""
        may_refer = any(mark in definition for mark in _REFERENCE_MARKS)
        referred = self.evaluators_print if may_refer else b""
        name = key.encode(errors="surrogatepass")
        head = b"%d:%b%b%b" % (len(name), name, self.metadata_print, referred)
        return blake2b(head + definition, digest_size=DIGEST_SIZE).digest()


class FlagEntry:
    """A flag, compiled on demand: ``static`` is its answer when the context does not matter, else ``resolve`` finds it.

    ``static`` is known once it is compiled. ``fingerprint`` identifies everything the entry is made from. Two threads
    may compile at once: both come to the same.
    """

    __slots__ = ("_make", "fingerprint", "resolve", "static")

    def __init__(self, fingerprint: bytes, make: Callable[[], Answer | Resolve]) -> None:
        self.fingerprint = fingerprint
        self.static: Answer | None = None
        self.resolve: Resolve = self._compile_and_resolve
        self._make: Callable[[], Answer | Resolve] | None = make

    @property
    def is_compiled(self) -> bool:
        """Whether nothing remains to be done before the flag can be evaluated."""
        return self._make is None

    def compile(self) -> None:
        """Compile the flag unless it is compiled."""
        make = self._make
        if make is None:
            return
        compiled = make()
        if isinstance(compiled, Answer):
            self.resolve = _constantly(compiled)
            self.static = compiled
        else:
            self.resolve = compiled
        self._make = None

    def _compile_and_resolve(self, context: dict[str, object], run: Run) -> Answer:
        self.compile()
        return self.resolve(context, run)


def entry_of(key: str, definition: object, frame: Frame, shared: Shared) -> FlagEntry:
    """Make the entry of a definition; of one that is not JSON, an entry that evaluates to an error."""
    content = canonical(definition)
    if content is None:
        return FlagEntry(frame.fingerprint(key, b""), partial(_unreadable, key, shared))
    return FlagEntry(frame.fingerprint(key, content), partial(compile_definition, key, definition, shared))


def entry_of_text(key: str, text: str, frame: Frame, shared: Shared) -> FlagEntry:
    """Make the entry of a definition as it is stored; it is not even parsed before it is compiled."""
    content = text.encode(errors="surrogatepass")
    return FlagEntry(frame.fingerprint(key, content), partial(_compile_text, key, content, shared))


def _compile_text(key: str, content: bytes, shared: Shared) -> Answer | Resolve:
    try:
        definition = orjson.loads(content)
    except JSONDecodeError:
        return _unreadable(key, shared)
    if canonical(definition) is None:
        return _unreadable(key, shared)
    return compile_definition(key, definition, shared)


def _unreadable(key: str, shared: Shared) -> Answer:
    return failure(key, ErrorCode.PARSE_ERROR, _UNREADABLE, shared.metadata)


def _constantly(answer: Answer) -> Resolve:
    return lambda _context, _run: answer


def object_member(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return a member of a document that is an object, or absent; raises DefinitionError for anything else."""
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DefinitionError((Problem(f"/{name}", "must be an object", "wrong_type"),))
    return value


def canonical(value: object) -> bytes | None:
    """Return a value as JSON in which equal values are equal, None for what is not JSON or nested too deep."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return None


def _fingerprint(value: object) -> bytes:
    content = canonical(value)
    text = repr(value).encode(errors="surrogatepass") if content is None else content
    return blake2b(text, digest_size=DIGEST_SIZE).digest()
