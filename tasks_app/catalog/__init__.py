"""The catalogue of tasks that can be dispatched, with their arguments, of Zenith's own application or of another one.

Zenith's own tasks are in this process's Celery registry (native.py). Those of another application are what its workers told,
which an engine took in (maintenance/catalogues.py): one query every few seconds reads them.
"""

from collections.abc import Iterator, Mapping

from django.conf import settings

from tasks_app.catalog import native
from tasks_app.catalog.attached import listed
from tasks_app.catalog.entry import CatalogEntry
from tasks_app.catalog.live import LiveCatalogues, all_catalogues, catalogues_of, forget
from tasks_app.errors import DrillsOffError, InvalidDispatchError
from tasks_app.models import Application
from tasks_app.models.application import NATIVE_ID
from zenith_site.common.errors import Problem

__all__ = [
    "CatalogEntry", "LiveCatalogues", "catalogues_of", "entries", "every_entry", "forget", "get", "known_entry", "offered",
    "refuse_drill",
]  # fmt: skip


def entries(application: Application | None = None) -> Mapping[str, CatalogEntry]:
    """Return every known task of an application by name, sorted; without one, of Zenith's own. Raises django.db.Error."""
    if application is None or application.is_native:
        return native.entries()
    return catalogues_of(application.pk).entries


def known_entry(name: str, application_id: int | None) -> CatalogEntry | None:
    """Return what is known of a task by the key of its application, or None. Raises django.db.Error."""
    if application_id is None or application_id == NATIVE_ID:
        return native.entries().get(name)
    return catalogues_of(application_id).entry(name)


def every_entry() -> Iterator[tuple[int, CatalogEntry]]:
    """Yield the tasks of all applications, each with its application's key. Raises django.db.Error."""
    for entry in native.entries().values():
        yield NATIVE_ID, entry
    for application_id, live in all_catalogues().items():
        for entry in live.entries.values():
            yield application_id, entry


def offered(application: Application | None = None) -> Mapping[str, CatalogEntry]:
    """Return the tasks that may be dispatched: all entries, but drills only if ZENITH_DRILLS is on. Raises django.db.Error."""
    return {name: entry for name, entry in entries(application).items() if settings.ZENITH_DRILLS or not entry.drill}


def refuse_drill(name: str, application: Application | None = None) -> None:
    """Raise DrillsOffError if the task is a drill and drills are off."""
    entry = entries(application).get(name)
    if entry is not None and entry.drill and not settings.ZENITH_DRILLS:
        raise DrillsOffError(name)


def get(name: str, application: Application | None = None) -> CatalogEntry:
    """Return one entry. Raises InvalidDispatchError for an unknown task, and DrillsOffError for a drill if drills are off."""
    refuse_drill(name, application)
    try:
        return entries(application)[name]
    except KeyError:
        raise InvalidDispatchError(Problem("/task", _unknown(name, application))) from None


def _unknown(name: str, application: Application | None) -> str:
    if application is None or application.is_native:
        return f"there is no task {name[:100]!r}; tasks are: {', '.join(offered())}"
    if not entries(application):
        return (
            f"no worker of {application.name} has told its tasks yet: start one with zenith_worker.auto, or upgrade zenith_worker"
        )
    return f"{application.name} has no task {name[:100]!r}; its tasks are: {listed(offered(application))}"
