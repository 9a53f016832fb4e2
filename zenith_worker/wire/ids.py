"""Identifiers: UUID version 7 (RFC 9562), time-ordered, so that the primary key's index stays local."""

import uuid

import uuid_utils


def new_id() -> uuid.UUID:
    """Return a new UUIDv7 as a standard-library UUID."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def canonical(text: str | None) -> str | None:
    """Return the canonical form of a UUID's text, None for anything else: Celery takes any text for an id."""
    try:
        return str(uuid.UUID(text)) if text else None
    except (ValueError, AttributeError, TypeError):
        return None
