"""Idempotency-Key (IETF draft "The Idempotency-Key HTTP Header Field"): one request, one effect.

A caller may send the same request again, with the same key, when it did not see the answer. The key's
row, what was done, and the answer are one transaction. Its primary key decides between two that come
at once: the second waits for the first's commit, and then finds its answer.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone

from tasks_app.errors import IdempotencyConflictError
from tasks_app.models import IdempotencyKey
from zenith_site.common.once import IdempotentAnswer

#: How long a key is remembered.
KEPT: Final = timedelta(hours=24)

_TABLE: Final = "tasks_app_idempotencykey"
# Takes a key that is free, or whose time is over.
_TAKE: Final = f"""
    INSERT INTO {_TABLE} AS kept (key, digest, created_at) VALUES (%(key)s, %(digest)s, %(now)s)
    ON CONFLICT (key) DO UPDATE SET digest = excluded.digest, created_at = excluded.created_at, answer = NULL
        WHERE kept.created_at < %(oldest)s
    RETURNING key
"""  # noqa: S608 -- only the table's name is put in


def once(key: str, wanted: bytes, act: Callable[[], Any]) -> IdempotentAnswer:
    """Return what `act` returns, or what it returned when this key was used before.

    `act` runs in this transaction, and returns a JSON value, which is stored for a day: no secret may
    be in it. What it raises undoes everything, and leaves the key free. Raises IdempotencyConflictError
    where the key stands for another request.
    """
    now = timezone.now()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_TAKE, {"key": key, "digest": wanted, "now": now, "oldest": now - KEPT})
            taken = cursor.rowcount == 1
        if not taken:
            return IdempotentAnswer(_earlier(key, wanted), repeated=True)
        answer = act()
        IdempotencyKey.objects.filter(key=key).update(answer=answer)
    return IdempotentAnswer(answer, repeated=False)


def _earlier(key: str, wanted: bytes) -> Any:
    kept = IdempotencyKey.objects.get(key=key)
    if bytes(kept.digest) != wanted:
        raise IdempotencyConflictError("this Idempotency-Key was used before with another request; use a new key")
    return kept.answer
