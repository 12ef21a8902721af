"""Evaluation for a caller: which environment, with which context. Touches neither database nor network."""

import asyncio
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

import orjson
from mmh3 import mmh3_x64_128_digest

from undercroft.flags.errors import EvaluationError, EvaluationErrorCode
from undercroft.flags.schemas.names import JsonObject
from undercroft.flags.service.environments import DEFAULT_ENVIRONMENT
from undercroft.flags.service.snapshots import COMPILED_AT_ONCE, Snapshot, SnapshotStore
from undercroft.flags.service.usage import UsageCounter
from undercroft.shared.auth import Principal
from undercroft.shared.ids import TypeId

_USERS: Final = frozenset({"user", "client"})
_ORGANIZATION: Final = "organization"


class BulkAnswer(NamedTuple):
    """A bulk evaluation's body, its strong validator, and what was evaluated."""

    body: bytes
    etag: str
    snapshot: Snapshot


class EvaluationService:
    """Evaluates the flags of the caller's environment from memory."""

    def __init__(
        self, store: SnapshotStore, usage: UsageCounter, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._usage = usage
        self._clock = clock

    def evaluate(
        self, principal: Principal, key: str, context: JsonObject, *, environment: str | None
    ) -> tuple[int, bytes]:
        """Return status and body of OFREP's single evaluation; raises `EvaluationError`."""
        snapshot = self.snapshot_for(principal, environment)
        return snapshot.flags.render(
            key,
            _with_caller(context, principal),
            now=int(self._clock()),
            tally=self._usage.tally_of(snapshot.environment_id),
        )

    def is_prepared(self, principal: Principal, *, environment: str | None) -> bool:
        """Tell whether a bulk evaluation has nothing to compile any more; raises `EvaluationError`."""
        return self.snapshot_for(principal, environment).flags.is_prepared

    async def prepare(self, principal: Principal, *, environment: str | None) -> None:
        """Compile beside the event loop what a bulk evaluation would have to; raises `EvaluationError`."""
        flags = self.snapshot_for(principal, environment).flags
        while not flags.is_prepared:
            await asyncio.to_thread(flags.prepare, COMPILED_AT_ONCE)

    def evaluate_all(
        self, principal: Principal, context: JsonObject, *, environment: str | None
    ) -> BulkAnswer:
        """Return OFREP's bulk evaluation; raises `EvaluationError`.

        The validator covers the set's version, the context and the result: two contexts never share one, and a
        rule that depends on the time changes it.
        """
        snapshot = self.snapshot_for(principal, environment)
        seen = _with_caller(context, principal)
        weight = self._usage.bulk_weight()
        tally = self._usage.tally_of(snapshot.environment_id) if weight else None
        body = snapshot.flags.render_all(seen, now=int(self._clock()), tally=tally, weight=weight)
        asked = orjson.dumps(seen, option=orjson.OPT_SORT_KEYS)
        # No secret and no defence: whoever made two answers collide would only mislead themselves.
        digest = mmh3_x64_128_digest(b"%b\0%b\0%b" % (snapshot.flags.version.encode(), asked, body))
        return BulkAnswer(body, f'"{digest.hex()}"', snapshot)

    def snapshot_for(self, principal: Principal, requested: str | None) -> Snapshot:
        """Return what a caller evaluates; raises `EvaluationError`."""
        environment = _environment_of(principal, requested)
        snapshot = self._store.find(environment)
        if snapshot is None:
            raise EvaluationError(
                EvaluationErrorCode.GENERAL, f"The environment {environment!r} does not exist."
            )
        return snapshot


def _environment_of(principal: Principal, requested: str | None) -> str:
    """Return where a caller evaluates.

    Only operators without a binding have a choice. People and OAuth clients hold nothing that names an environment:
    they are the product's own users, and these live in production.
    """
    bound = principal.environment
    if bound is not None:
        if requested is not None and requested != bound:
            raise EvaluationError(EvaluationErrorCode.GENERAL, f"This key evaluates only in {bound!r}.")
        return bound
    if principal.is_operator:
        return requested or DEFAULT_ENVIRONMENT
    if principal.kind not in _USERS:
        raise EvaluationError(
            EvaluationErrorCode.GENERAL,
            "This key is bound to no environment: use one that was created with `environment`.",
        )
    if requested not in (None, DEFAULT_ENVIRONMENT):
        raise EvaluationError(
            EvaluationErrorCode.GENERAL, f"People and clients evaluate only in {DEFAULT_ENVIRONMENT!r}."
        )
    return DEFAULT_ENVIRONMENT


def _with_caller(context: JsonObject, principal: Principal) -> JsonObject:
    """Add the caller's organization and plan where the client did not say them itself."""
    if principal.organization_id is None:
        return context
    known = _organization(principal.organization_id, principal.plan)
    given = context.get(_ORGANIZATION)
    if given is None and _ORGANIZATION not in context:
        return {**context, _ORGANIZATION: known}
    return {**context, _ORGANIZATION: {**known, **given}} if isinstance(given, dict) else context


@lru_cache(maxsize=10_000)
def _organization(organization_id: UUID, plan: str | None) -> JsonObject:
    """Return what is known of an organization. Shared between calls: it is copied before it is changed."""
    known: JsonObject = {"id": str(TypeId("org", organization_id))}
    if plan is not None:
        known["plan"] = plan
    return known
