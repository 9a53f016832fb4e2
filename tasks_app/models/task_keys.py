"""The keys of the tasks that a person may mean by an id, in whatever application.

The key of another application's task is derived from Celery's id, so finding it needs the names of the applications. They are few
and seldom change: each process reads them again only after a few seconds.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from django.db.models import Case, IntegerField, QuerySet, Value, When

from tasks_app.models.application import NATIVE_ID, Application, Visible, of_visible
from tasks_app.models.task import Task
from zenith_site.common.jsonsafe import storable_text
from zenith_worker.wire.ids import as_uuid, key_of, keys_of

#: Seconds for which a process believes to know all applications.
KNOWN_FOR: Final = 5.0


class _Names:
    """The names of the other applications, and until when (`time.monotonic`) they count as all."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._until = 0.0

    def read(self) -> list[str]:
        if time.monotonic() >= self._until:
            self._names = list(Application.objects.exclude(id=NATIVE_ID).order_by().values_list("name", flat=True))
            self._until = time.monotonic() + KNOWN_FOR
        return self._names

    def forget(self) -> None:
        self._until = 0.0


_NAMES: Final = _Names()
#: Makes the next lookup read the applications again.
forget_applications: Final = _NAMES.forget


def keys_meant(text: str) -> set[UUID]:
    """Return the keys of the tasks that a person may mean by an id; a query every few seconds. Raises django.db.Error."""
    return keys_of(text) | {key_of(text, name) for name in _NAMES.read()}


def first_meant(texts: Sequence[str], visible: Visible = None) -> list[UUID]:
    """Return the key of the task that each id names before all others (`tasks_meant`), without unknown ones; one query.

    Only of tasks of the applications that a caller may see.
    """
    candidates = {text: keys_meant(text) for text in texts}
    rows = Task.objects.filter(of_visible(visible), id__in=set().union(*candidates.values())).order_by()
    owners = dict(rows.values_list("id", "application_id"))
    named = (best_of(text, keys & owners.keys(), owners) for text, keys in candidates.items())
    return list(dict.fromkeys(key for key in named if key is not None))


def best_of(text: str, keys: set[UUID], owners: Mapping[UUID, int | None]) -> UUID | None:
    """Return the key among these that an id names before all others; `owners` are the keys of their applications."""
    exact = key_of(text), as_uuid(text)
    return min(keys, key=lambda key: (exact.index(key) if key in exact else len(exact), owners[key] or 0), default=None)


def tasks_meant(text: str) -> QuerySet[Task]:
    """Return the tasks that an id may name, by Celery's id or the row's key.

    First that of Zenith's own application with exactly this id, then the row with this key, then those of other applications:
    none of these may stand in front of another task by choosing its id.
    """
    ranks = [When(application=NATIVE_ID, text_id=storable_text(text), then=Value(0))]
    if (key := as_uuid(text)) is not None:
        ranks.append(When(id=key, then=Value(1)))
    rank = Case(*ranks, default=Value(2), output_field=IntegerField())
    return Task.objects.filter(id__in=keys_meant(text)).order_by(rank, "application_id")
