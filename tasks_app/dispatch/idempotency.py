"""The store of idempotency keys (IETF draft "The Idempotency-Key HTTP Header Field"): one request, one effect.

A caller that did not see the answer sends the request again with the same key. The key's row, the effect and the answer are
one transaction. The primary key decides between two requests at the same time: the second waits for the first's commit, then
finds its answer.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone

from tasks_app.errors import IdempotencyConflictError
from tasks_app.models import IdempotencyKey
from zenith_site.common.idempotency import IdempotentAnswer

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


def run_once(key: str, digest: bytes, action: Callable[[], Any]) -> IdempotentAnswer:
    """Return what `action` returns, or what it returned when this key was used before.

    `action` runs in this transaction and returns a JSON value, which is stored for a day, so it must hold no secret. If it
    raises, everything is rolled back and the key stays free. Raises IdempotencyConflictError if the key was used with another
    request.
    """
    now = timezone.now()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_TAKE, {"key": key, "digest": digest, "now": now, "oldest": now - KEPT})
            is_new = cursor.rowcount == 1
        if not is_new:
            return IdempotentAnswer(_earlier_answer(key, digest), repeated=True)
        answer = action()
        IdempotencyKey.objects.filter(key=key).update(answer=answer)
    return IdempotentAnswer(answer, repeated=False)


def _earlier_answer(key: str, digest: bytes) -> Any:
    kept = IdempotencyKey.objects.get(key=key)
    if bytes(kept.digest) != digest:
        raise IdempotencyConflictError("this Idempotency-Key was used before with a different request; use a new key")
    return kept.answer
