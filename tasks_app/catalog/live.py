"""The catalogues of other applications that count now, as this process knows them: it reads them again after a few seconds."""

import time
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any, Final

from django.db.models import F, Max, Window
from django.utils import timezone

from tasks_app.catalog.attached import AttachedEntry
from tasks_app.catalog.entry import CatalogEntry
from tasks_app.models import Catalogue

#: Seconds for which a process believes to know an application's catalogues.
KNOWN_FOR: Final = 3.0
#: Seconds after which a catalogue's workers count as gone: longer than engines take to notice one and to store when it was seen.
SEEN_WITHIN: Final = 30.0


class LiveCatalogues:
    """An application's catalogues that count: those of workers that are online, or else the newest one.

    Attributes:
        tasks: the tasks of each by name; the newest catalogue first.
        is_online: whether workers that can run them are online.
        left_out: how many tasks of the newest one had an invalid description.
    """

    def __init__(self, rows: list[Catalogue]) -> None:
        newest = max((row.last_seen_at for row in rows), default=None)
        self.is_online = newest is not None and newest > timezone.now() - timedelta(seconds=SEEN_WITHIN)
        by_age = sorted(rows, key=lambda row: (row.first_seen_at, row.pk), reverse=True)
        counted = by_age if self.is_online else [row for row in by_age if row.last_seen_at == newest][:1]
        self.tasks: list[Mapping[str, Any]] = [row.tasks for row in counted]
        self.left_out = counted[0].left_out if counted else 0

    @property
    def versions(self) -> int:
        """The number of different catalogues that workers online have."""
        return len(self.tasks) if self.is_online else 0

    def having(self, name: str) -> int:
        """Return how many of them have a task."""
        return sum(name in tasks for tasks in self.tasks)

    @cached_property
    def entries(self) -> dict[str, CatalogEntry]:
        """The tasks of all of them by name, sorted."""
        names = sorted({name for tasks in self.tasks for name in tasks})
        return {name: self._entry(name) for name in names}

    def _entry(self, name: str) -> CatalogEntry:
        described: list[Any] = []
        for tasks in self.tasks:
            if name in tasks and tasks[name] not in described:
                described.append(tasks[name])
        return AttachedEntry.of(name, described, is_online=self.is_online)


class _Known:
    """The catalogues of applications by the application's key, each with until when (`time.monotonic`) they count."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, LiveCatalogues]] = {}

    def read(self, application_id: int) -> LiveCatalogues:
        until, known = self._known.get(application_id, (0.0, None))
        if known is None or time.monotonic() >= until:
            known = LiveCatalogues(_rows(application_id))
            self._known[application_id] = (time.monotonic() + KNOWN_FOR, known)
        return known

    def forget(self) -> None:
        self._known.clear()


def _rows(application_id: int) -> list[Catalogue]:
    """Return the catalogues that were seen last, and those that were seen hardly earlier."""
    newest = Window(Max("last_seen_at"))
    rows = Catalogue.objects.filter(application=application_id).annotate(newest=newest)
    return list(rows.filter(last_seen_at__gt=F("newest") - timedelta(seconds=SEEN_WITHIN)))


_KNOWN: Final = _Known()
#: Return an application's catalogues by its row's key; one query every few seconds. Raises django.db.Error.
catalogues_of: Final = _KNOWN.read
#: Makes the next look read the catalogues again.
forget: Final = _KNOWN.forget
