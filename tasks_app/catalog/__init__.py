"""The catalogue of tasks that can be dispatched, with their arguments, of Zenith's own application or of another one.

Workers tell which tasks they have, an engine takes that in (maintenance/catalogues.py), and one query every few seconds reads it.
Zenith's own tasks that are in this process's Celery registry as well are read from there (native.py): their code says more about
arguments than a schema does.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Final

from django.conf import settings

from tasks_app.catalog import native
from tasks_app.catalog.advertised_entry import listed
from tasks_app.catalog.effort import Effort
from tasks_app.catalog.entry import CatalogEntry, MessageOptions
from tasks_app.catalog.live import LiveCatalogues, all_catalogues, catalogues_of, forget
from tasks_app.errors import DrillsOffError, InvalidDispatchError
from tasks_app.models import Application
from tasks_app.models.application import NATIVE_ID
from zenith_site.common.application import celery_app
from zenith_site.common.errors import Problem

__all__ = [
    "CatalogEntry", "Effort", "LiveCatalogues", "MessageOptions", "all_catalogues", "catalogues_of", "entries", "every_entry",
    "forget", "get", "known_entry", "message_options", "offered", "refuse_drill", "suggested",
]  # fmt: skip


#: Names that a search box suggests at most.
SUGGESTED_AT_MOST: Final = 500


def entries(application: Application | None = None) -> Mapping[str, CatalogEntry]:
    """Return every known task of an application by name, sorted; without one, of Zenith's own. Raises django.db.Error."""
    if application is None or application.is_native:
        return _native(catalogues_of(NATIVE_ID))
    return catalogues_of(application.pk).entries


@lru_cache(maxsize=1)
def _native(told: LiveCatalogues) -> Mapping[str, CatalogEntry]:
    """Return the tasks of the registry and what workers told besides, by name, sorted."""
    together: dict[str, CatalogEntry] = {**told.entries, **native.entries()}
    return {name: together[name] for name in sorted(together)}


def known_entry(name: str, application_id: int | None) -> CatalogEntry | None:
    """Return what is known of a task by the key of its application, or None. Raises django.db.Error."""
    if application_id is None or application_id == NATIVE_ID:
        return native.entries().get(name) or catalogues_of(NATIVE_ID).entry(name)
    return catalogues_of(application_id).entry(name)


def every_entry() -> Iterator[tuple[int, CatalogEntry]]:
    """Yield the tasks of all applications, each with its application's key. Raises django.db.Error."""
    others = all_catalogues()
    for entry in entries().values():
        yield NATIVE_ID, entry
    for application_id, live in others.items():
        if application_id != NATIVE_ID:
            for entry in live.entries.values():
                yield application_id, entry


def message_options(name: str) -> MessageOptions:
    """Return what the definition of one of Zenith's own tasks puts into its messages. Raises django.db.Error."""
    task = celery_app().tasks.get(name)
    if task is not None:
        return MessageOptions(bool(task.ignore_result), task.time_limit, task.soft_time_limit)
    entry = catalogues_of(NATIVE_ID).entry(name)
    return MessageOptions() if entry is None else entry.options


def offered(application: Application | None = None) -> Mapping[str, CatalogEntry]:
    """Return the tasks that may be dispatched: all entries, but drills only if ZENITH_DRILLS is on. Raises django.db.Error."""
    return {name: entry for name, entry in entries(application).items() if settings.ZENITH_DRILLS or not entry.drill}


def suggested() -> list[str]:
    """Return names of Zenith's own tasks for a search box: the first ones if there are very many. Raises django.db.Error."""
    return [*islice(entries(), SUGGESTED_AT_MOST)]


def refuse_drill(name: str, application: Application | None = None) -> None:
    """Raise DrillsOffError if the task is a drill and drills are off."""
    _refuse_drill(known_entry(name, NATIVE_ID if application is None else application.pk))


def _refuse_drill(entry: CatalogEntry | None) -> None:
    if entry is not None and entry.drill and not settings.ZENITH_DRILLS:
        raise DrillsOffError(entry.name)


def get(name: str, application: Application | None = None) -> CatalogEntry:
    """Return one entry. Raises InvalidDispatchError for an unknown task, and DrillsOffError for a drill if drills are off."""
    entry = known_entry(name, NATIVE_ID if application is None else application.pk)
    if entry is None:
        raise InvalidDispatchError(Problem("/task", _unknown(name, application)))
    _refuse_drill(entry)
    return entry


def _unknown(name: str, application: Application | None) -> str:
    if application is None or application.is_native:
        return f"there is no task {name[:100]!r}; tasks are: {listed(offered())}"
    if not entries(application):
        return (
            f"no worker of {application.name} has told its tasks yet: start one with zenith_worker.auto, or upgrade zenith_worker"
        )
    return f"{application.name} has no task {name[:100]!r}; its tasks are: {listed(offered(application))}"
