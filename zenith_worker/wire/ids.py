"""Identifiers: UUID version 7 (RFC 9562) for new ids, and the key of a task with any id.

Celery accepts any text as a task's id. A row's key is that id if it is a UUID as Celery writes it. For any other text, the key is
derived from it (version 5), so that each follows from the other without a lookup. For the tasks of other applications, the key
is derived from the application's name and the id, whatever that is: two of them may both have a task `nightly`, and none may
write to another's rows.
"""

from __future__ import annotations

import hashlib
import secrets
import time
import uuid
from functools import lru_cache
from typing import Final

from zenith_worker.wire.keys import NATIVE

try:
    import uuid_utils
except ImportError:
    # The distribution zenith-worker does not require it.
    _HAS_UUID_UTILS = False
else:
    _HAS_UUID_UTILS = True

#: The namespace of this project's own application, and that of the namespaces of all others; random UUIDs.
NAMESPACE: Final = uuid.UUID("c021da68-01ed-4640-a720-ed7a63d55862")
APPLICATIONS_NAMESPACE: Final = uuid.UUID("7d0f2c52-5a43-4c1c-9b1e-0a8e6a0b7c94")


def new_id() -> uuid.UUID:
    """Return a new UUIDv7 as a standard-library UUID."""
    return uuid.UUID(int=uuid_utils.uuid7().int) if _HAS_UUID_UTILS else uuid7()


def uuid7() -> uuid.UUID:
    """Return a new UUIDv7 without a library, ordered by time to a fraction of a microsecond (RFC 9562, section 6.2, method 3)."""
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = nanoseconds * 2**12 // 1_000_000
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | secrets.randbits(62))


def key_of(celery_id: str, application: str = NATIVE) -> uuid.UUID:
    """Return the key of the task that an application knows by an id, which may be any text."""
    if application == NATIVE:
        if (key := as_uuid(celery_id)) is not None and str(key) == celery_id:
            return key
        return _derived(NAMESPACE, celery_id)
    return _derived(_namespace_of(application), celery_id)


@lru_cache(maxsize=1000)
def _namespace_of(application: str) -> uuid.UUID:
    return _derived(APPLICATIONS_NAMESPACE, application)


def _derived(namespace: uuid.UUID, name: str) -> uuid.UUID:
    # Celery's ids come from JSON, which can hold half a surrogate pair.
    digest = hashlib.sha1(namespace.bytes + name.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
    return uuid.UUID(bytes=digest[:16], version=5)


def keys_of(text: str) -> set[uuid.UUID]:
    """Return the keys of the tasks that a person may mean: of this exact id, and of the UUID in another notation."""
    return {key_of(text), *([key] if (key := as_uuid(text)) is not None else [])}


def key_meant(text: str) -> uuid.UUID:
    """Return the key of the task that a person means by an id, without a lookup: a UUID may be in any notation."""
    return as_uuid(text) or key_of(text)


def as_uuid(text: str) -> uuid.UUID | None:
    """Return the UUID in a text, in any notation; None for any other text."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
