"""Applications by name, and their names for lists of tasks."""

from collections.abc import Iterable, Mapping

from django.db.models import Exists

from tasks_app.models import Application, Task
from tasks_app.models.application import NATIVE_ID
from zenith_worker.wire.applications import NATIVE_NAME


def names_of(tasks: Iterable[Task]) -> Mapping[int | None, str]:
    """Return the names of these tasks' applications by key; one query if there are others than Zenith's own."""
    return names_by_id(task.application_id for task in tasks)


def has_attached() -> Exists:
    """Return the expression for queries that tells whether there are applications besides Zenith's own."""
    return Exists(Application.objects.exclude(id=NATIVE_ID).order_by())


def attached_names() -> list[str]:
    """Return the names of the applications besides Zenith's own, in order; one query."""
    return list(Application.objects.exclude(id=NATIVE_ID).order_by("name").values_list("name", flat=True))


def several_names() -> list[str]:
    """Return the names of all applications, Zenith's own first, to choose one; none if there is no other. One query."""
    attached = attached_names()
    return [NATIVE_NAME, *attached] if attached else []


def names_by_id(ids: Iterable[int | None]) -> Mapping[int | None, str]:
    """Return the names of applications by key; one query if there are others than Zenith's own."""
    names: dict[int | None, str] = {NATIVE_ID: NATIVE_NAME}
    if others := {id_ for id_ in ids if id_} - names.keys():
        names |= Application.objects.filter(id__in=others).order_by().values_list("id", "name")
    return names
