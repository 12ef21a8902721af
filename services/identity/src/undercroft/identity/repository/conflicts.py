"""Which constraint a statement violated, by the name that the naming convention gave it."""

from sqlalchemy.exc import IntegrityError


def violated_constraint(error: IntegrityError) -> str | None:
    """Return the constraint's name as PostgreSQL reports it."""
    # SQLAlchemy wraps asyncpg's exception twice.
    cause = getattr(error.orig, "__cause__", None)
    name: str | None = getattr(cause, "constraint_name", None)
    return name
