"""Links shared by several pages and by notifications, which know a worker or a queue only by its name."""

from urllib.parse import urlencode

from django.urls import reverse

from tasks_app.search.parser import quoted
from zenith_worker.wire.applications import NATIVE_NAME


def tasks_with(key: str, name: str, application: str = "") -> str:
    """Return the URL of the tasks whose `key`, a term of the search language, is this name; of all tasks if the name is blank.

    With `application`, only of the tasks of the application with this name.
    """
    values = {"q": f"{key}:{quoted(name)}" if name.strip() else "", "application": application}
    query = urlencode({parameter: value for parameter, value in values.items() if value})
    return f"{reverse('tasks:list')}?{query}".removesuffix("?")


def queue_url(name: str, application: str) -> str:
    """Return the URL of the page of an application's queue."""
    return _of(application, reverse("tasks:queue", args=[name]))


def worker_url(name: str, application: str) -> str:
    """Return the URL of the page of an application's worker."""
    return _of(application, reverse("tasks:worker", args=[name]))


def tell_url(name: str, command: str, application: str) -> str:
    """Return the URL at which an application's worker is told a command."""
    return _of(application, reverse("tasks:tell_worker", args=[name, command]))


def overview_url(application: str) -> str:
    """Return the URL of the Overview of one application."""
    return f"{reverse('tasks:overview')}?{urlencode({'application': application})}"


def queues_url(application: str) -> str:
    """Return the URL of the queues of another application."""
    return _of(application, reverse("tasks:queues"))


def queue_action_url(verb: str, name: str, application: str) -> str:
    """Return the URL at which an application's queue is paused, resumed or purged."""
    return _of(application, reverse(f"tasks:{verb}_queue", args=[name]))


def _of(application: str, url: str) -> str:
    return url if application == NATIVE_NAME else f"{url}?{urlencode({'application': application})}"
