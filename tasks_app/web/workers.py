"""The workers: their state and tasks, and Celery's remote control, with a confirmation before each command."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from tasks_app import catalog, worker_nodes
from tasks_app.analytics import histories
from tasks_app.control import workers as control
from tasks_app.control.remote import why_not
from tasks_app.control.workers import CommandReply
from tasks_app.errors import CommandWithdrawnError, WorkerSilentError, WorkerUnknownError
from tasks_app.models import Application
from tasks_app.queries import guards
from tasks_app.queries import workers as queries
from tasks_app.queries.application_names import several_names
from tasks_app.queries.workers import WorkerView
from tasks_app.web.application_switch import narrowed
from tasks_app.web.cursor import with_event_cursor
from tasks_app.web.links import tell_url, worker_url
from tasks_app.web.trends import Trend, worker_trends
from zenith_site.common.callers import OPERATE, VIEW, Shows, audit_details, authorize
from zenith_site.common.downloads import download, requested_format
from zenith_site.common.errors import InvalidInputError, StateConflictError
from zenith_site.common.forms import add_problems
from zenith_site.common.pages import answer, ask, confirm, render_page
from zenith_worker.wire.applications import NATIVE_NAME
from zenith_worker.wire.queue_names import MAX_NAME

#: Workers on the page at most, Zenith's own first; other applications may tell of any number.
ROWS: Final = 500
COLUMNS: Final[list[tuple[str, Callable[[WorkerView], Any]]]] = [
    ("name", lambda view: view.beat.name),
    ("application", lambda view: view.application),
    ("state", lambda view: view.state),
    ("heartbeat_age_seconds", lambda view: round(view.beat.heartbeat_age, 1)),
    ("pool", lambda view: view.beat.pool),
    ("slots", lambda view: view.beat.slots),
    ("busy", lambda view: view.beat.busy),
    ("queues", lambda view: list(view.beat.queues)),
    ("celery_version", lambda view: view.beat.version),
    ("memory_bytes", lambda view: view.beat.memory_bytes),
    ("uptime_seconds", lambda view: view.uptime_seconds),
]


@require_safe
@narrowed()
@with_event_cursor
def worker_list(request: HttpRequest) -> HttpResponseBase:
    """List every worker that sent a heartbeat lately, of all applications or of one."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    application = _application(request)
    seen = {application} if caller.sees(application) else set()
    views = queries.all_workers(seen if application else caller.applications)
    if kind := requested_format(request):
        return download(kind, "workers", COLUMNS, views)
    online = [view for view in views if view.beat.online]
    context = {
        "workers": _with_trends(views[:ROWS]),
        "left_out": max(0, len(views) - ROWS),
        "online": len(online),
        "slots": sum(view.beat.slots for view in online),
        "busy": sum(view.beat.busy for view in online),
        # Only Zenith's own are cleared; others leave by themselves.
        "gone": sum(view.beat.dead for view in views if view.application == NATIVE_NAME),
        "applications": several_names(caller.applications),
        "application": application,
        "file_query": urlencode({"application": application} if application else {}),
    }
    return render_page(request, "workers/workers.html", context, fragments=["workers/_workers.html"])


@require_safe
@with_event_cursor
def worker(request: HttpRequest, name: str) -> HttpResponseBase:
    """Show one worker, its current tasks, and its commands."""
    application = _application(request) or NATIVE_NAME
    caller = authorize(request, VIEW, Shows.of(application))
    view = queries.find(name, application) if caller.sees(application) else None
    if view is None:
        raise Http404(f"There is no worker {name[:100]!r}. A lost worker leaves the list after five minutes.")
    is_native = application == NATIVE_NAME
    context = {
        "view": view, "beat": view.beat, "is_native": is_native,
        "everyday": {name: command for name, command in COMMANDS.items() if name in EVERYDAY},
        "seldom": {name: command for name, command in COMMANDS.items() if name not in EVERYDAY},
        "why_not": "" if is_native else why_not(view.beat, application),
        "worker_application": application if several_names(caller.applications) else "",
        "node": worker_nodes.of_workers([name]).get(name) if is_native else None,
        "guard_lines": guards.lines_of(view.beat.guards),
        "trends": _with_trends([view], histories.FINE)[0][1],
        "trend_steps": "a minute a bar",
    }  # fmt: skip
    return render_page(request, "workers/worker.html", context, fragments=["workers/_worker.html"])


def _with_trends(views: list[WorkerView], step: int = histories.COARSE) -> list[tuple[WorkerView, list[Trend]]]:
    """Return workers with the sparklines of their last hour. One query."""
    found = histories.of_workers([(view.application, view.beat.name) for view in views], step)
    return [(view, worker_trends(found[view.application, view.beat.name])) for view in views]


class NoForm(forms.Form):
    """A command without parameters."""


class SlotsForm(forms.Form):
    """The number of slots to add or remove."""

    slots = forms.IntegerField(label="Slots", initial=1, min_value=1)


class AutoscaleForm(forms.Form):
    """The smallest and the largest number of slots to scale between."""

    minimum = forms.IntegerField(label="At least", min_value=1)
    maximum = forms.IntegerField(label="At most", min_value=1)


class QueueForm(forms.Form):
    """The queue to start or to stop consuming."""

    queue = forms.CharField(label="Queue", max_length=MAX_NAME)


class TimeLimitForm(forms.Form):
    """The time limits of a task."""

    task = forms.CharField(label="Task", max_length=255)
    soft = forms.FloatField(
        label="Soft limit", required=False, min_value=1, help_text="Seconds until SoftTimeLimitExceeded is raised."
    )
    hard = forms.FloatField(label="Hard limit", required=False, min_value=1, help_text="Seconds until its process is killed.")


class RateLimitForm(forms.Form):
    """How often a task may start."""

    task = forms.CharField(label="Task", max_length=255)
    limit = forms.CharField(label="Rate", max_length=20, help_text="Such as 10/s, 100/m or 5000/h; 0 removes the limit.")


@dataclass(frozen=True)
class Command:
    """A command for a worker: `sentence` says what it does, `send` sends it with the form's values."""

    label: str
    icon: str
    sentence: str
    send: Callable[..., object]
    form: type[forms.Form] = NoForm
    danger: bool = False
    success: str = "{} confirmed the command."


COMMANDS: Final = {
    "grow": Command("Grow", "plus", "{} adds pool processes.", control.grow, SlotsForm),
    "shrink": Command("Shrink", "minus", "{} removes pool processes, each after its task ends.", control.shrink, SlotsForm),
    "autoscale": Command(
        "Autoscale", "adjustments", "{} scales its pool between two bounds.", control.autoscale, AutoscaleForm
    ),
    "add-queue": Command("Add a queue", "stack-2", "{} takes tasks from one more queue.", control.add_queue, QueueForm),
    "cancel-queue": Command("Drop a queue", "x", "{} stops taking tasks from a queue.", control.cancel_queue, QueueForm),
    "time-limit": Command(
        "Time limit", "clock", "{} limits how long a task may run.", control.limit_time, TimeLimitForm
    ),
    "rate-limit": Command(
        "Rate limit", "activity", "{} limits how often a task may start.", control.limit_rate, RateLimitForm
    ),
    "restart-pool": Command(
        "Restart the pool", "refresh", "{} replaces its pool processes, each after its task ends.", control.restart_pool
    ),
    "drain": Command(
        "Drain", "player-pause", "{} finishes its tasks and takes no more. It keeps running.", control.drain, danger=True
    ),
    "shut-down": Command(
        "Shut down", "plug-off", "{} finishes its tasks, or returns them, and stops.", control.shut_down, danger=True,
        success="{} is shutting down.",
    ),
}  # fmt: skip


#: The commands with a button of their own; the others are in a menu, the dangerous ones last.
EVERYDAY: Final = frozenset({"grow", "shrink"})


@require_http_methods(["GET", "HEAD", "POST"])
def send_command(request: HttpRequest, name: str, command: str) -> HttpResponse:
    """Confirm a command (GET), and send it to a worker (POST)."""
    application = _application(request) or NATIVE_NAME
    caller = authorize(request, OPERATE, Shows.of(application))
    action = COMMANDS.get(command)
    if action is None or not caller.sees(application) or queries.find(name, application) is None:
        raise Http404("There is no such worker or command.")
    back = worker_url(name, application)
    form = action.form(request.POST if request.method == "POST" else None)
    if "task" in form.fields and (names := _task_names(application)):
        form.fields["task"] = forms.ChoiceField(label="Task", choices=[("", "Choose a task"), *((name, name) for name in names)])
    if request.method == "POST" and form.is_valid():
        try:
            reply = action.send(name, **form.cleaned_data, application=application)
        except InvalidInputError as error:
            add_problems(form, error)
        except (StateConflictError, WorkerSilentError, CommandWithdrawnError, WorkerUnknownError) as error:
            messages.warning(request, str(error))
            return answer(request, back)
        else:
            of = {} if application == NATIVE_NAME else {"application": application}
            audit_details(request, worker=name, command=command, **of, **form.cleaned_data)
            messages.success(request, action.success.format(name) + _words(reply))
            return answer(request, back)
    return ask(
        request, form, title=f"{action.label}?", sentence=action.sentence.format(name), button=action.label, danger=action.danger,
        action=tell_url(name, command, application), back=back,
    )  # fmt: skip


def _task_names(application: str) -> list[str]:
    """Return the tasks that an application's workers told of, by name; none if they tell of none."""
    row = Application.named(application)
    return [] if row is None else sorted(catalog.entries(row))


def _words(reply: object) -> str:
    """Return what the worker said, where that is a sentence."""
    said = reply.answer if isinstance(reply, CommandReply) else None
    return f" It answered: {said[:200]}." if isinstance(said, str) and said else ""


@require_http_methods(["GET", "HEAD", "POST"])
def clear(request: HttpRequest, name: str) -> HttpResponse:
    """Confirm that a lost worker is removed from the list (GET), and remove it (POST)."""
    caller = authorize(request, OPERATE)
    if request.method == "POST":
        try:
            control.clear(name, caller.name)
        except (StateConflictError, WorkerUnknownError) as error:
            messages.warning(request, str(error))
        else:
            audit_details(request, worker=name, command="clear")
            messages.success(request, f"{name} was cleared.")
        return answer(request, reverse("tasks:workers"), leave=True)
    return confirm(
        request, title="Clear this worker?",
        sentence=f"{name} will be removed from the list. Its next heartbeat would bring it back.",
        action=reverse("tasks:clear_worker", args=[name]), button="Clear", back="tasks:workers",
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def clear_all(request: HttpRequest) -> HttpResponse:
    """Confirm that all lost workers are removed from the list (GET), and remove them (POST)."""
    caller = authorize(request, OPERATE)
    if request.method == "POST":
        cleared, holding = control.clear_all(caller.name)
        audit_details(request, workers=cleared, command="clear")
        if holding:
            messages.warning(request, f"Not cleared yet, because they still hold tasks: {', '.join(holding)}.")
        messages.success(request, f"{_workers(len(cleared))} cleared.")
        return answer(request, "tasks:workers")
    count = _workers(sum(view.beat.dead for view in queries.workers()))
    return confirm(
        request, title="Clear lost workers?",
        sentence=f"{count} will be removed from the list. A new heartbeat would bring one back.",
        action=reverse("tasks:clear_workers"), button=f"Clear {count}", back="tasks:workers",
    )  # fmt: skip


def _application(request: HttpRequest) -> str:
    return request.GET.get("application", "")[:200].replace("\0", "")


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count:,} workers"
