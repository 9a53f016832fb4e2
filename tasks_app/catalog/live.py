"""The catalogues of workers that count now, as this process knows them: it reads them again after a few seconds.

The tasks of a catalogue's row never change, so they are read once.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any, Final

from django.db.models import Case, F, JSONField, Max, Q, QuerySet, Value, When, Window
from django.utils import timezone

from tasks_app.catalog.advertised_entry import AdvertisedEntry
from tasks_app.models import Catalogue

#: Seconds for which a process believes to know an application's catalogues.
KNOWN_FOR: Final = 3.0
#: Seconds after which a catalogue's workers count as gone: longer than engines take to notice one and to store when it was seen.
SEEN_WITHIN: Final = 30.0


class LiveCatalogues:
    """An application's catalogues that count: those of workers that are online, or else the newest one.

    Attributes:
        rows: their rows, the newest first.
        is_online: whether workers that can run their tasks are online.
    """

    def __init__(self, rows: Iterable[Catalogue]) -> None:
        by_age = sorted(rows, key=lambda row: (row.first_seen_at, row.pk), reverse=True)
        newest = max((row.last_seen_at for row in by_age), default=None)
        self.is_online = newest is not None and newest > timezone.now() - timedelta(seconds=SEEN_WITHIN)
        self.rows = by_age if self.is_online else [row for row in by_age if row.last_seen_at == newest][:1]
        self._entries: dict[str, AdvertisedEntry] = {}

    @property
    def tasks(self) -> list[Mapping[str, Any]]:
        """The descriptions of the tasks of each by name."""
        return [row.tasks for row in self.rows]

    @property
    def left_out(self) -> int:
        """How many tasks of the newest one had an invalid description."""
        return self.rows[0].left_out if self.rows else 0

    @property
    def versions(self) -> int:
        """The number of different catalogues that workers online have."""
        return len(self.rows) if self.is_online else 0

    def is_like(self, other: "LiveCatalogues") -> bool:
        """Whether both have the same tasks, and whether their workers are online."""
        return (self.is_online, [row.pk for row in self.rows]) == (other.is_online, [row.pk for row in other.rows])

    def having(self, name: str) -> int:
        """Return how many of them have a task."""
        return sum(name in tasks for tasks in self.tasks)

    def entry(self, name: str) -> AdvertisedEntry | None:
        """Return a task, or None if none of them has it."""
        if name not in self._entries and (described := list(self._described(name))):
            self._entries[name] = AdvertisedEntry.of(name, described, is_online=self.is_online)
        return self._entries.get(name)

    @cached_property
    def entries(self) -> dict[str, AdvertisedEntry]:
        """The tasks of all of them by name, sorted."""
        names = sorted({name for tasks in self.tasks for name in tasks})
        return {name: entry for name in names if (entry := self.entry(name))}

    def _described(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Yield the different descriptions of a task, the newest first."""
        seen: list[Any] = []
        for tasks in self.tasks:
            if name in tasks and tasks[name] not in seen:
                seen.append(tasks[name])
                yield tasks[name]


_NONE: Final = LiveCatalogues(())


class _Known:
    """The catalogues of applications by the application's key, each with until when (`time.monotonic`) they count."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, LiveCatalogues]] = {}
        self._all_until = 0.0

    def read(self, application_id: int) -> LiveCatalogues:
        # One that is not among all others has none.
        until, known = self._known.get(application_id, (self._all_until, _NONE))
        if time.monotonic() >= until:
            known = self._newer(application_id, self._rows(Catalogue.objects.filter(application=application_id)))
            self._known[application_id] = (time.monotonic() + KNOWN_FOR, known)
        return known

    def read_all(self) -> dict[int, LiveCatalogues]:
        if time.monotonic() >= self._all_until:
            by_application: dict[int, list[Catalogue]] = defaultdict(list)
            for row in self._rows(Catalogue.objects.all()):
                by_application[row.application_id].append(row)
            self._all_until = until = time.monotonic() + KNOWN_FOR
            self._known = {id_: (until, self._newer(id_, rows)) for id_, rows in by_application.items()}
        return {id_: known for id_, (_, known) in self._known.items()}

    def forget(self) -> None:
        self._known, self._all_until = {}, 0.0

    def _newer(self, application_id: int, rows: list[Catalogue]) -> LiveCatalogues:
        """Return an application's catalogues: the known ones, with the entries that were made of them, if nothing has changed."""
        _, known = self._known.get(application_id, (0.0, None))
        read = LiveCatalogues(rows)
        return known if known is not None and known.is_like(read) else read

    def _rows(self, catalogues: QuerySet[Catalogue]) -> list[Catalogue]:
        """Return each application's catalogue that was seen last, and those that were seen hardly earlier."""
        known = {row.pk: row.tasks for _, live in self._known.values() for row in live.rows}
        newest = Window(Max("last_seen_at"), partition_by="application_id")
        unread = Case(When(Q(pk__in=known), then=Value(None, JSONField())), default=F("tasks"), output_field=JSONField())
        seen = catalogues.annotate(newest=newest).filter(last_seen_at__gt=F("newest") - timedelta(seconds=SEEN_WITHIN))
        rows: list[Catalogue] = [*seen.defer("tasks").annotate(unread=unread)]
        for row in rows:
            row.tasks = known[row.pk] if row.pk in known else getattr(row, "unread", None)
        return rows


_KNOWN: Final = _Known()
#: Return an application's catalogues by its row's key; one query every few seconds. Raises django.db.Error.
catalogues_of: Final = _KNOWN.read
#: Return the catalogues of all applications by the row's key; one query every few seconds. Raises django.db.Error.
all_catalogues: Final = _KNOWN.read_all
#: Makes the next look read the catalogues again.
forget: Final = _KNOWN.forget
