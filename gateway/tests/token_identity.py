"""An identity that publishes keys and tells what the subjects of tokens may do."""

import time
from typing import Any

from gateway.tests.factories import (
    ORGANIZATION,
    TokenIssuer,
)

from undercroft.gateway.auth.authenticator import Authenticator
from undercroft.gateway.auth.credentials import Credential, Presented
from undercroft.gateway.auth.identity_client import Access, AccessRequest
from undercroft.gateway.errors import (
    OrganizationNotFoundError,
)
from undercroft.shared.events import CloudEvent

AUDIENCE = "https://api.example"


class Clock:
    """Starts now, because tokens are issued now."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Identity:
    """Publishes keys and tells what subjects may do, by the organization that is asked about."""

    def __init__(self, issuer: TokenIssuer) -> None:
        self.issuer = issuer
        self.fetches = 0
        self.questions: list[AccessRequest] = []
        self.answers: dict[str | None, dict[str, Any]] = {str(ORGANIZATION): {}}
        self.has_ended = False
        self.failure: Exception | None = None

    async def fetch_key_set(self) -> bytes:
        self.fetches += 1
        return self.issuer.key_set()

    async def look_up(self, request: AccessRequest) -> Access | None:
        self.questions.append(request)
        if self.failure is not None:
            raise self.failure
        if self.has_ended:
            return None
        properties = self.answers.get(request.organization_id)
        if properties is None:
            raise OrganizationNotFoundError
        known = {
            "kind": "user",
            "organizationId": request.organization_id,
            "scopes": ["flags:evaluate", "identity:read", "identity:write"],
            **properties,
        }
        return Access.model_validate(known)


async def use(authenticator: Authenticator, token: str, organization: str | None = None) -> Credential:
    presented = Presented(token, organization)
    return authenticator.recall(presented) or await authenticator.verify(presented)


def happened(kind: str, subject: str) -> CloudEvent:
    members = {"id": "evt_1", "source": "/identity", "type": f"dev.undercroft.{kind}", "subject": subject}
    return CloudEvent.model_validate({**members, "time": "2026-11-23T00:00:00Z", "data": {}})
