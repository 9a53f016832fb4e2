"""The application that a task is dispatched to, or belongs to."""

from typing import Final

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
