"""The application that a task is dispatched to, or belongs to, and where its tasks go."""

from typing import Final

from tasks_app.catalog import CatalogEntry
from tasks_app.errors import InvalidDispatchError
from tasks_app.models import Application, Task
from tasks_app.models.application import NATIVE_ID, Visible
from zenith_site.common.application import celery_app
from zenith_site.common.errors import Problem, StateConflictError

#: Applications that a problem lists.
_MOST_LISTED: Final = 20


def named(name: str, visible: Visible = None) -> Application:
    """Return an application by name; one query unless it is Zenith's own.

    Raises InvalidDispatchError for an unknown name, and for one that is not among those that the caller may see.
    """
    application = Application.named(name) if visible is None or name in visible else None
    if application is None:
        seen = Application.objects.all() if visible is None else Application.objects.filter(name__in=visible)
        known = ", ".join(seen.values_list("name", flat=True)[:_MOST_LISTED])
        raise InvalidDispatchError(Problem("/application", f"there is no application {name[:100]!r}; applications are: {known}"))
    return application


def why_watched(application: Application) -> str:
    """Return why Zenith sends no tasks to an application that it only watches; empty for any other."""
    if not application.is_watched:
        return ""
    return (
        f"Zenith only watches {application.name}: it sends it no tasks, and knows no exact arguments of them. Attach it to"
        " dispatch and replay them (docs/attach.md)."
    )


def refuse_watched(application: Application) -> None:
    """Raise StateConflictError for an application that Zenith only watches."""
    if reason := why_watched(application):
        raise StateConflictError(reason)


def of_task(task: Task) -> Application:
    """Return a task's application; one query unless it is Zenith's own."""
    id_ = task.application_id or NATIVE_ID
    return Application.native() if id_ == NATIVE_ID else Application.objects.get(id=id_)


def default_queue(entry: CatalogEntry | None, application: Application) -> str:
    """Return the queue that a task goes to if none is asked for; empty if its application did not tell.

    Zenith publishes its own tasks itself, so each of them needs one.
    """
    queue = entry.queue if entry is not None else None
    return queue or (str(celery_app().conf.task_default_queue) if application.is_native else "")
