"""The application that a task is dispatched to, and its tasks."""

from typing import Final

from tasks_app import catalog
from tasks_app.errors import InvalidDispatchError
from tasks_app.models import Application, Task
from tasks_app.models.application import NATIVE_ID, Kind
from zenith_site.common.errors import Problem
from zenith_worker.wire.applications import NATIVE_NAME, is_name

#: Applications that a problem lists.
_MOST_LISTED: Final = 20


def named(name: str) -> Application:
    """Return an application by name; one query unless it is Zenith's own. Raises InvalidDispatchError for an unknown name."""
    if name == NATIVE_NAME:
        return native()
    application = Application.objects.filter(name=name).first() if is_name(name) else None
    if application is None:
        known = ", ".join(Application.objects.values_list("name", flat=True)[:_MOST_LISTED])
        raise InvalidDispatchError(Problem("/application", f"there is no application {name[:100]!r}; applications are: {known}"))
    return application


def native() -> Application:
    """Return Zenith's own application, without a query."""
    return Application(id=NATIVE_ID, name=NATIVE_NAME, kind=Kind.NATIVE)


def of_task(task: Task) -> Application:
    """Return a task's application; one query unless it is Zenith's own."""
    id_ = task.application_id or NATIVE_ID
    return native() if id_ == NATIVE_ID else Application.objects.get(id=id_)


def entry_of(task_name: str, application: Application) -> catalog.CatalogEntry | None:
    """Return what is known of a task of an application, or None: other code may send tasks that no catalogue has."""
    if application.is_native:
        return catalog.entries().get(task_name)
    try:
        return catalog.get(task_name, application)
    except InvalidDispatchError:
        return None
