"""Idempotency-Key (IETF draft "The Idempotency-Key HTTP Header Field"): one request, one dispatch.

A caller may send the same request again, with the same key, when it did not see the answer. The
unique constraint on the batch's key decides between two that come at once: the second waits for
the first's commit and then finds its batch.
"""

import hashlib
import json
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from django.db import connection
from django.utils import timezone

from tasks_app.errors import IdempotencyConflictError
from tasks_app.models import Batch, Task

if TYPE_CHECKING:
    from tasks_app.dispatch.create import Dispatch, Origin

#: How long a key is remembered.
KEPT: Final = timedelta(hours=24)


def scoped_key(origin: "Origin") -> str | None:
    """Return the key with its caller in front: one caller's key never answers for another's."""
    if origin.idempotency_key is None:
        return None
    return f"{origin.user_id or '-'}:{origin.sent_by[:100]}:{origin.idempotency_key}"


def digest(asked: "Dispatch") -> bytes:
    """Return a digest that is equal for equal requests."""
    return hashlib.sha256(json.dumps(asdict(asked), sort_keys=True, default=str).encode()).digest()


def find(origin: "Origin", wanted: bytes) -> Batch | None:
    """Return the batch that this key dispatched before, and keep the key to this transaction.

    Raises IdempotencyConflictError where it dispatched something else.
    """
    key = scoped_key(origin)
    with connection.cursor() as cursor:
        # Two requests with one key: the second waits here until the first has committed.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])
    Batch.objects.filter(idempotency_key=key, created_at__lt=timezone.now() - KEPT).update(idempotency_key=None)
    batch = Batch.objects.filter(idempotency_key=key).first()
    if batch is not None and bytes(batch.idempotency_digest or b"") != wanted:
        raise IdempotencyConflictError("this Idempotency-Key was used before with another request; use a new key")
    return batch


def task_ids(batch: Batch) -> list[UUID]:
    """Return the ids of a batch's tasks, in the order in which they were written."""
    return list(Task.objects.filter(batch=batch).order_by("id").values_list("id", flat=True))
