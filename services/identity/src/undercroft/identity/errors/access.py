"""What is refused about tokens that are still valid by themselves.

ServiceError
└── NotFoundError 404
    └── AccessEndedError    access_ended
"""

from undercroft.shared.errors import NotFoundError


class AccessEndedError(NotFoundError):
    """What the token was issued for has ended: a person, a grant, a client, a key, or the token itself."""

    code = "access_ended"
