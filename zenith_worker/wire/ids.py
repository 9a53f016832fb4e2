"""Identifiers: UUID version 7 (RFC 9562) for what is made here, and the key of a task whose id Celery's users chose.

Celery takes any text for a task's id. A row's key is that id where it is a UUID as Celery writes it; for any other text the key
is made from the text (version 5), so that whoever knows the one knows the other without asking. An application of its own will
have a namespace of its own: two of them may both have a task `nightly`.
"""

import hashlib
import uuid
from typing import Final

import uuid_utils

#: Of this project's own application; drawn once.
NAMESPACE: Final = uuid.UUID("c021da68-01ed-4640-a720-ed7a63d55862")


def new_id() -> uuid.UUID:
    """Return a new UUIDv7 as a standard-library UUID."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def key_of(celery_id: str) -> uuid.UUID:
    """Return the key of the task that Celery knows by an id, which may be any text."""
    if (key := as_uuid(celery_id)) is not None and str(key) == celery_id:
        return key
    # Celery's ids come from JSON, which can hold halves of a surrogate pair.
    digest = hashlib.sha1(NAMESPACE.bytes + celery_id.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
    return uuid.UUID(bytes=digest[:16], version=5)


def keys_of(text: str) -> set[uuid.UUID]:
    """Return the keys of the tasks that a person may mean: of this very id, and of the UUID that is written in another way."""
    return {key_of(text), *([key] if (key := as_uuid(text)) is not None else [])}


def key_meant(text: str) -> uuid.UUID:
    """Return the key of the task that a person means by an id, where nothing can be looked up: a UUID may be in any form."""
    return as_uuid(text) or key_of(text)


def as_uuid(text: str) -> uuid.UUID | None:
    """Return the UUID that a text is in any of its forms; None for any other text."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
