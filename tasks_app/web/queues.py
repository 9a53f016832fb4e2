"""The queues: depths, ages and rates; the messages in one; pause, resume and purge."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from tasks_app.analytics import histories
from tasks_app.control import queues as control
from tasks_app.models import Application, Task
from tasks_app.queries import attached_queues
from tasks_app.queries import queues as queries
from tasks_app.queries.application_names import first_name, several_names
from tasks_app.queries.attached_queues import AttachedQueue
from tasks_app.queries.queues import QueueFilter, QueueView
from tasks_app.queries.waiting_messages import waiting_messages
from tasks_app.search.parameters import MAX_TEXT
from tasks_app.watching.looks import NotSeenError
from tasks_app.web import attached_queues as attached_pages
from tasks_app.web.application_switch import narrowed
from tasks_app.web.pause_form import PauseForm
from tasks_app.web.trends import Trend, queue_trends
from zenith_site.common.callers import OPERATE, VIEW, Caller, Shows, audit_details, authorize
from zenith_site.common.downloads import download, requested_format
from zenith_site.common.errors import InvalidInputError
from zenith_site.common.forms import add_problems
from zenith_site.common.jsonsafe import storable_text
from zenith_site.common.live_updates import refresh_pages
from zenith_site.common.pages import answer, ask, confirm, render_page
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.broker_message import BrokerMessage
from zenith_worker.wire.ids import key_of

PEEKED: Final = 20
#: Hours of which a queue's page shows the depth.
DEPTH_HOURS: Final = 6
#: Queues per page; an open page is refreshed every three seconds.
PAGE: Final = 50
COLUMNS: Final[list[tuple[str, Callable[[QueueView], Any]]]] = [
    ("name", lambda view: view.name),
    ("depth", lambda view: view.now.depth),
    ("unacknowledged", lambda view: view.now.unacknowledged),
    ("held", lambda view: view.held),
    ("oldest_seconds", lambda view: view.now.oldest_seconds),
    ("rate_in_per_minute", lambda view: view.rate_in),
    ("rate_out_per_minute", lambda view: view.rate_out),
    ("seconds_to_drain", lambda view: view.seconds_to_drain),
    ("consumers", lambda view: view.consumers),
    ("paused", lambda view: view.pause is not None),
]

ATTACHED_COLUMNS: Final[list[tuple[str, Callable[[AttachedQueue], Any]]]] = [
    ("name", lambda queue: queue.name),
    ("depth", lambda queue: queue.waiting),
    ("depth_age_seconds", lambda queue: None if queue.told_seconds is None else round(queue.told_seconds, 1)),
    ("oldest_seconds", lambda queue: queue.oldest_seconds),
    ("consumers", lambda queue: queue.consumers),
    ("oldest_seconds", lambda queue: queue.oldest_seconds),
    ("rate_in_per_minute", lambda queue: queue.rates.arriving),
    ("rate_out_per_minute", lambda queue: queue.rates.served),
    ("seconds_to_drain", lambda queue: queue.seconds_to_drain),
    ("paused", lambda queue: queue.pause is not None),
    *((status.value.lower(), lambda queue, status=status: queue.by_status.get(status, 0)) for status in attached_queues.COUNTED),
]


@require_safe
@narrowed()
def queue_list(request: HttpRequest) -> HttpResponseBase:
    """List queues that have messages, tasks or a worker, page by page, longest first; downloads have all that match.

    Without an application they are of Zenith's own, or for who may not see that, of the first that they may.
    """
    asked_for = request.GET.get("application", "")
    caller = authorize(request, VIEW, Shows.of(asked_for))
    application = asked_for or NATIVE_NAME
    if not asked_for and not caller.sees(application):
        return redirect(_first_seen(request, caller))
    q, number = storable_text(request.GET.get("q", "").strip()[:MAX_TEXT]), _page_number(request)
    if application != NATIVE_NAME:
        return _attached_queues(request, caller, application, q)
    queue_filter = QueueFilter(limit=PAGE, q=q)
    if kind := requested_format(request):
        return download(kind, "queues", COLUMNS, queue_filter.all())
    page = queue_filter.longest(number)
    context = {
        "queues": page.queues, "matching": page.matching, "q": q,
        "trends": _trends([view.name for view in page.queues], Application.native()),
        "applications": several_names(caller.applications), "application": NATIVE_NAME,
        "first_url": _list_url(q, 1) if number > 1 else "",
        "next_url": _list_url(q, number + 1) if page.following else "",
    }  # fmt: skip
    return render_page(request, "queues/queues.html", context, fragments=["queues/_queues.html"])


def _first_seen(request: HttpRequest, caller: Caller) -> str:
    """Return the address of the same list for the first application that the caller sees; without any, of the applications."""
    name = first_name(caller.applications)
    if not name:
        return reverse("tasks:applications")
    parameters = request.GET.copy()
    parameters["application"] = name
    return f"{request.path}?{parameters.urlencode()}"


def _attached_queues(request: HttpRequest, caller: Caller, name: str, q: str) -> HttpResponseBase:
    """List the queues of another application, as its workers, its tasks and its observer tell of them. Raises Http404."""
    application = _seen_application(caller, name)
    found = attached_queues.queues_of(application, q)
    if kind := requested_format(request):
        return download(kind, "queues", ATTACHED_COLUMNS, found.queues)
    context = {
        "found": found, "q": q, "trends": _trends([queue.name for queue in found.queues if queue.name], application),
        "statuses": attached_queues.COUNTED, "watched": application.is_watched,
        "applications": several_names(caller.applications), "application": application.name,
        "file_query": urlencode({"application": application.name, **({"q": q} if q else {})}),
    }  # fmt: skip
    return render_page(request, "queues/attached.html", context, fragments=["queues/_attached.html"])


@require_safe
def queue(request: HttpRequest, name: str) -> HttpResponse:
    """Show one queue, its last six hours, and its next messages: of Zenith's own application, or of the one that is named."""
    asked_for = request.GET.get("application", "") or NATIVE_NAME
    caller = authorize(request, VIEW, Shows.of(asked_for))
    if asked_for != NATIVE_NAME:
        return _attached_queue(request, caller, asked_for, name)
    view = _get_queue(name)
    native = Application.native()
    held = queries.peek_unacknowledged(name, PEEKED)
    waiting = waiting_messages(native, name, PEEKED)
    context = {
        "view": view,
        "application": NATIVE_NAME if several_names(caller.applications) else "",
        **_history(name, native),
        "waiting": waiting,
        "unacknowledged": held,
        "tasks": _tasks_of([*(shown.message for shown in waiting), *(message for message, _ in held)], native),
    }
    return render_page(request, "queues/queue.html", context, fragments=["queues/_queue.html"])


def _attached_queue(request: HttpRequest, caller: Caller, application_name: str, name: str) -> HttpResponse:
    """Show a queue of another application, and its next messages if those can be seen. Raises Http404."""
    application = _seen_application(caller, application_name)
    found = attached_queues.find(application, name)
    if found is None:
        raise Http404(f"There is no queue {name[:100]!r}.")
    messages_, why_not = [], ""
    try:
        messages_ = waiting_messages(application, name, PEEKED)
    except NotSeenError as error:
        why_not = str(error)
    context = {
        "queue": found, "application": application.name, "watched": application.is_watched,
        **_history(name, application), "waiting": messages_, "why_not": why_not,
        "tasks": _tasks_of([shown.message for shown in messages_], application),
    }  # fmt: skip
    return render_page(request, "queues/attached_queue.html", context, fragments=["queues/_attached_queue.html"])


def _trends(names: list[str], application: Application) -> dict[str, list[Trend]]:
    return {name: queue_trends(found) for name, found in histories.of_queues(names, application).items()}


def _history(name: str, application: Application) -> dict[str, Any]:
    """Return the part of a queue's page that tells of its last hours. One query."""
    found = histories.of_queues([name], application, DEPTH_HOURS)[name]
    return {"trends": queue_trends(found.last_hour), "depths": found.depth, "trend_steps": "five minutes a bar"}


def _tasks_of(messages_: list[BrokerMessage], application: Application) -> dict[str, UUID]:
    """Return the keys of the tasks of these messages that have a row, by Celery's id. One query."""
    keys = {message.task_id: key_of(message.task_id, application.key_name) for message in messages_ if message.task_id}
    known = set(Task.objects.filter(id__in=keys.values()).values_list("id", flat=True)) if keys else set()
    return {id_: key for id_, key in keys.items() if key in known}


def _seen_application(caller: Caller, name: str) -> Application:
    """Return the application with a name, if the caller may see it. Raises Http404."""
    application = Application.named(name) if caller.sees(name) else None
    if application is None:
        raise Http404(f"There is no application {name[:50]!r}.")
    return application


@require_http_methods(["GET", "HEAD", "POST"])
def pause(request: HttpRequest, name: str) -> HttpResponse:
    """Ask for a reason (GET), and pause a queue (POST)."""
    if of := _other_application(request):
        return attached_pages.pause(request, of, name)
    caller = authorize(request, OPERATE)
    _get_queue(name)
    form = PauseForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            newly_paused = control.pause(name, by=caller.name, note=form.cleaned_data["note"])
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            audit_details(request, queue=name)
            refresh_pages("queues")
            messages.success(request, f"{name} is paused." if newly_paused else f"{name} was already paused.")
            return answer(request, _url(name))
    return ask(
        request, form, title=f"Pause {name}?", button="Pause", action=reverse("tasks:pause_queue", args=[name]), back=_url(name),
        sentence="Until it is resumed, nothing is sent to it and no worker takes from it. Tasks already reserved still run.",
    )  # fmt: skip


@require_POST
def resume(request: HttpRequest, name: str) -> HttpResponse:
    """Resume a queue."""
    if of := _other_application(request):
        return attached_pages.resume(request, of, name)
    authorize(request, OPERATE)
    if control.resume(name):
        refresh_pages("queues")
        messages.success(request, f"{name} is resumed.")
    else:
        messages.info(request, f"{name} is not paused.")
    return answer(request, "tasks:queues")


@require_http_methods(["GET", "HEAD", "POST"])
def purge(request: HttpRequest, name: str) -> HttpResponse:
    """Confirm, naming the number of tasks (GET), and purge a queue (POST)."""
    if of := _other_application(request):
        return attached_pages.purge(request, of, name)
    caller = authorize(request, OPERATE)
    _get_queue(name)
    if request.method == "POST":
        try:
            result = control.purge(name, by=caller.name)
        except InvalidInputError as error:
            messages.warning(request, "; ".join(problem.detail for problem in error.problems))
            return answer(request, _url(name))
        audit_details(request, queue=name, revoked=result.revoked, messages_removed=result.removed)
        refresh_pages("queues")
        remaining = f" {result.remaining:,} still wait: purge the queue again." if result.remaining else ""
        messages.success(request, f"{result.revoked:,} tasks revoked.{remaining}")
        return answer(request, _url(name))
    waiting = control.count_waiting(name)
    tasks = "1 task" if waiting == 1 else f"{waiting:,} tasks"
    return confirm(
        request, title=f"Purge {name}?", action=reverse("tasks:purge_queue", args=[name]), button=f"Revoke {tasks}",
        sentence=f"{tasks} waiting in it will be revoked, and its messages removed. Scheduled tasks stay.", back=_url(name),
    )  # fmt: skip


def _other_application(request: HttpRequest) -> str:
    """Return the application whose queue the address means; empty for Zenith's own."""
    name = request.GET.get("application", NATIVE_NAME)
    return "" if name == NATIVE_NAME else name


def _page_number(request: HttpRequest) -> int:
    """Return the number of the requested page; anything that is not a page number counts as the first."""
    text = request.GET.get("page", "")
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 7 else 1


def _list_url(q: str, number: int) -> str:
    values = {name: value for name, value in (("q", q), ("page", number if number > 1 else "")) if value}
    # An address without any filter would show the application that is chosen in the sidebar.
    return "?" + urlencode(values or {"application": NATIVE_NAME})


def _url(name: str) -> str:
    return reverse("tasks:queue", args=[name])


def _get_queue(name: str) -> QueueView:
    view = queries.find(name)
    if view is None:
        raise Http404(f"There is no queue {name[:100]!r}.")
    return view
