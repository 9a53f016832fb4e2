"""The workers: what each is and does, and Celery's remote control, each command with a question before it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from tasks_app import worker_nodes
from tasks_app.control import workers as control
from tasks_app.errors import WorkerSilentError, WorkerUnknownError
from tasks_app.queries import workers as queries
from tasks_app.queries.workers import WorkerView
from tasks_app.web.cursor import with_event_cursor
from zenith_site.common.callers import OPERATE, VIEW, audit_details, authorize
from zenith_site.common.downloads import download, requested_format
from zenith_site.common.errors import InvalidInputError, StateConflictError
from zenith_site.common.forms import add_problems
from zenith_site.common.pages import answer, ask, confirm, render_page

COLUMNS: Final[list[tuple[str, Callable[[WorkerView], Any]]]] = [
    ("name", lambda view: view.beat.name),
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
@with_event_cursor
def worker_list(request: HttpRequest) -> HttpResponseBase:
    """Every worker heard of lately."""
    authorize(request, VIEW)
    views = queries.workers()
    if kind := requested_format(request):
        return download(kind, "workers", COLUMNS, views)
    online = [view for view in views if view.beat.online]
    context = {
        "workers": views,
        "online": len(online),
        "slots": sum(view.beat.slots for view in online),
        "busy": sum(view.beat.busy for view in online),
        "gone": sum(view.beat.dead for view in views),
    }
    return render_page(request, "workers/workers.html", context, fragments=["workers/_workers.html"])


@require_safe
@with_event_cursor
def worker(request: HttpRequest, name: str) -> HttpResponseBase:
    """One worker, what it runs now, and its controls."""
    authorize(request, VIEW)
    view = queries.find(name)
    if view is None:
        raise Http404(f"There is no worker {name[:100]!r}; one that is gone is forgotten after five minutes.")
    context = {"view": view, "beat": view.beat, "commands": COMMANDS, "node": worker_nodes.of_workers([name]).get(name)}
    return render_page(request, "workers/worker.html", context, fragments=["workers/_worker.html"])


class NoForm(forms.Form):
    """A command that needs nothing."""


class SlotsForm(forms.Form):
    """How many slots."""

    slots = forms.IntegerField(label="Slots", initial=1, min_value=1)


class AutoscaleForm(forms.Form):
    """Between how many slots to scale."""

    minimum = forms.IntegerField(label="At least", min_value=1)
    maximum = forms.IntegerField(label="At most", min_value=1)


class QueueForm(forms.Form):
    """Which queue."""

    queue = forms.CharField(label="Queue", max_length=100)


class TimeLimitForm(forms.Form):
    """The limits of a task's time."""

    task = forms.CharField(label="Task", max_length=255)
    soft = forms.FloatField(label="Soft limit", required=False, min_value=1, help_text="Seconds until SoftTimeLimitExceeded.")
    hard = forms.FloatField(label="Hard limit", required=False, min_value=1, help_text="Seconds until its process is killed.")


class RateLimitForm(forms.Form):
    """How often a task may be started."""

    task = forms.CharField(label="Task", max_length=255)
    limit = forms.CharField(label="Rate", max_length=20, help_text="Such as 10/s, 100/m or 5000/h; 0 lifts the limit.")


@dataclass(frozen=True)
class Command:
    """What a worker can be told: `sentence` says what that does, `tell` does it with the form's values."""

    label: str
    icon: str
    sentence: str
    tell: Callable[..., object]
    form: type[forms.Form] = NoForm
    danger: bool = False
    said: str = "{} has done it."


COMMANDS: Final = {
    "grow": Command("Grow", "plus", "{} gets more pool processes.", control.grow, SlotsForm),
    "shrink": Command("Shrink", "minus", "{} ends pool processes, each once its task is over.", control.shrink, SlotsForm),
    "autoscale": Command(
        "Autoscale", "adjustments", "{} scales its pool by itself between two bounds.", control.autoscale, AutoscaleForm
    ),
    "add-queue": Command("Add a queue", "stack-2", "{} takes tasks from one queue more.", control.add_queue, QueueForm),
    "cancel-queue": Command("Drop a queue", "x", "{} takes no more tasks from a queue.", control.cancel_queue, QueueForm),
    "time-limit": Command(
        "Time limit", "clock", "On {}, a task is limited in its time from now on.", control.limit_time, TimeLimitForm
    ),
    "rate-limit": Command(
        "Rate limit", "activity", "On {}, a task is started no more often than this.", control.limit_rate, RateLimitForm
    ),
    "restart-pool": Command(
        "Restart the pool", "refresh", "{} replaces its pool processes, each once its task is over.", control.restart_pool
    ),
    "drain": Command(
        "Drain", "player-pause", "{} takes nothing more and finishes what it has. It goes on running.", control.drain, danger=True
    ),
    "shut-down": Command(
        "Shut down", "plug-off", "{} finishes its tasks, or hands them back, and ends.", control.shut_down, danger=True,
        said="{} is shutting down.",
    ),
}  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def tell(request: HttpRequest, name: str, command: str) -> HttpResponse:
    """Ask before a worker is told something (GET), and tell it (POST)."""
    authorize(request, OPERATE)
    told = COMMANDS.get(command)
    if told is None or queries.find(name) is None:
        raise Http404("There is no such worker or command.")
    form = told.form(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            told.tell(name, **form.cleaned_data)
        except InvalidInputError as error:
            add_problems(form, error)
        except (StateConflictError, WorkerSilentError, WorkerUnknownError) as error:
            messages.warning(request, str(error))
            return answer(request, reverse("tasks:worker", args=[name]))
        else:
            audit_details(request, worker=name, command=command, **form.cleaned_data)
            messages.success(request, told.said.format(name))
            return answer(request, reverse("tasks:worker", args=[name]))
    return ask(
        request, form, title=f"{told.label}?", sentence=told.sentence.format(name),
        action=reverse("tasks:tell_worker", args=[name, command]), button=told.label, danger=told.danger,
        back=reverse("tasks:worker", args=[name]),
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def clear(request: HttpRequest, name: str) -> HttpResponse:
    """Ask before a worker that is gone is taken off the list (GET), and take it off (POST)."""
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
        request, title="Clear the worker?", sentence=f"{name} is taken off the list. Should it beat again, it is back.",
        action=reverse("tasks:clear_worker", args=[name]), button="Clear", back="tasks:workers",
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def clear_all(request: HttpRequest) -> HttpResponse:
    """Ask before all workers that are gone are taken off the list (GET), and take them off (POST)."""
    caller = authorize(request, OPERATE)
    if request.method == "POST":
        cleared, holding = control.clear_all(caller.name)
        audit_details(request, workers=cleared, command="clear")
        if holding:
            messages.warning(request, f"Not yet, since the tasks that they had are given back first: {', '.join(holding)}.")
        messages.success(request, f"{_workers(len(cleared))} cleared.")
        return answer(request, "tasks:workers")
    count = _workers(sum(view.beat.dead for view in queries.workers()))
    return confirm(
        request, title="Clear workers that are gone?", sentence=f"{count} taken off the list. Should one beat again, it is back.",
        action=reverse("tasks:clear_workers"), button=f"Clear {count}", back="tasks:workers",
    )  # fmt: skip


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count:,} workers"
