"""Applications by name, and their names for lists of tasks."""

from collections.abc import Iterable, Mapping

from django.db.models import Exists

from tasks_app.models import Application, Task
from tasks_app.models.application import NATIVE_ID, Visible
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


def all_names() -> list[str]:
    """Return the names of all applications, Zenith's own first. One query."""
    return [NATIVE_NAME, *attached_names()]


def several_names(visible: Visible = None) -> list[str]:
    """Return the names of the applications that a caller may see, Zenith's own first, to choose one; none if it is only one.

    One query.
    """
    names = seen_among(all_names(), visible)
    return names if len(names) > 1 else []


def seen_among(names: Iterable[str], visible: Visible) -> list[str]:
    """Return those of these names that a caller may see."""
    return [name for name in names if visible is None or name in visible]


def first_name(visible: Visible) -> str:
    """Return the name of the first application that a caller may see, Zenith's own before others, or an empty text. One query."""
    return next(iter(seen_among(all_names(), visible)), "")


def ids_of(visible: Visible) -> frozenset[int] | None:
    """Return the keys of the applications that a caller may see; None for all. One query, and none for all."""
    return None if visible is None else frozenset(Application.objects.filter(name__in=visible).values_list("id", flat=True))


def names_by_id(ids: Iterable[int | None]) -> Mapping[int | None, str]:
    """Return the names of applications by key; one query if there are others than Zenith's own."""
    names: dict[int | None, str] = {NATIVE_ID: NATIVE_NAME}
    if others := {id_ for id_ in ids if id_} - names.keys():
        names |= Application.objects.filter(id__in=others).order_by().values_list("id", "name")
    return names
