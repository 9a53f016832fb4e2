"""Applications by name, and their names for lists of tasks."""

from collections.abc import Iterable, Mapping

from django.db.models import Exists

from tasks_app.models import Application, Task
from tasks_app.models.application import NATIVE_ID, Kind
from zenith_worker.wire.applications import NATIVE_NAME, is_name


def names_of(tasks: Iterable[Task]) -> Mapping[int | None, str]:
    """Return the names of these tasks' applications by key; one query if there are others than Zenith's own."""
    names: dict[int | None, str] = {NATIVE_ID: NATIVE_NAME}
    if others := {task.application_id for task in tasks if task.application_id} - names.keys():
        names |= Application.objects.filter(id__in=others).order_by().values_list("id", "name")
    return names


def has_attached() -> Exists:
    """Return the expression for queries that tells whether there are applications besides Zenith's own."""
    return Exists(Application.objects.exclude(id=NATIVE_ID).order_by())


def attached_names() -> list[str]:
    """Return the names of the applications besides Zenith's own, in order; one query."""
    return list(Application.objects.exclude(id=NATIVE_ID).order_by("name").values_list("name", flat=True))


def named_application(name: str) -> Application | None:
    """Return the application with a name, or None; one query, and none for Zenith's own."""
    if name == NATIVE_NAME:
        return Application(id=NATIVE_ID, name=NATIVE_NAME, kind=Kind.NATIVE)
    return Application.objects.filter(name=name).first() if is_name(name) else None
