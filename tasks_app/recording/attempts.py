"""Store every failed run with its own error; the task's row shows only the newest."""

import re
from collections.abc import Iterable
from typing import Final

from django.db.backends.utils import CursorWrapper

from zenith_site.common.sql import statements
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status, nesting_of

#: More attempts than any task has. PostgreSQL would refuse the whole batch for a number out of range.
_MOST: Final = 2**31 - 2
_ENDS_A_RUN: Final = frozenset({Status.RETRY, Status.FAILURE, Status.REVOKED})

_SQL: Final = statements(__file__)
_INSERT: Final = _SQL["insert_attempts"]

#: What Python prints between an exception and the one raised while it was handled.
_CHAINED: Final = re.compile(
    r"\n\n(?:During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception):\n\n"
)


def write_attempts(cursor: CursorWrapper, events: Iterable[Event]) -> None:
    """Insert a row for each event that ended a run with an error; a repeated event changes nothing.

    Runs that succeeded write nothing, so most tasks cost nothing here.
    """
    failed = [event for event in events if event.status in _ENDS_A_RUN and event.error_type]
    if not failed:
        return
    cursor.execute(
        _INSERT,
        [
            [event.task_id for event in failed],
            [nesting_of(event.position) for event in failed],
            [min(event.attempt, _MOST) + 1 for event in failed],
            # The same limit as in states.position().
            [min(event.delivery, 0xFF) for event in failed],
            [event.worker[:255] for event in failed],
            [event.received_at for event in failed],
            [event.started_at for event in failed],
            [event.at for event in failed],
            [event.not_before for event in failed],
            [event.status.value for event in failed],
            [event.error_type for event in failed],
            [event.error_message for event in failed],
            [_own_part(event) for event in failed],
            [event.cpu for event in failed],
            [event.memory for event in failed],
        ],
    )


def _own_part(event: Event) -> str:
    """Return the traceback without Celery's `Retry`, which was raised while the real error was handled."""
    text = event.traceback or ""
    if event.status != Status.RETRY:
        return text
    links = list(_CHAINED.finditer(text))
    if not links or "celery.exceptions.Retry" not in text[links[-1].end() :]:
        return text
    return text[: links[-1].start()] + "\n"
