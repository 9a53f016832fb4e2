"""The queues of attached applications: pause, resume and purge, which their workers carry out (control/attached_queues.py)."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse

from tasks_app.control import attached_queues as control
from tasks_app.control.attached_queues import AttachedPurged
from tasks_app.errors import CommandWithdrawnError, PurgeUnansweredError
from tasks_app.models import Application
from tasks_app.queries import attached_queues as queries
from tasks_app.queries.attached_queues import AttachedQueue
from tasks_app.web.links import queue_action_url, queues_url
from tasks_app.web.pause_form import PauseForm
from zenith_site.common.callers import OPERATE, Caller, Shows, audit_details, authorize
from zenith_site.common.errors import InvalidInputError, StateConflictError
from zenith_site.common.forms import add_problems
from zenith_site.common.live_updates import refresh_pages
from zenith_site.common.pages import answer, ask, confirm


def pause(request: HttpRequest, of: str, name: str) -> HttpResponse:
    """Ask for a reason (GET), and pause a queue of the application `of` (POST)."""
    caller, application, view = _get(request, of, name)
    form = PauseForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            is_new = control.pause(application, name, by=caller.name, note=form.cleaned_data["note"])
        except InvalidInputError as error:
            add_problems(form, error)
        except StateConflictError as error:
            messages.warning(request, str(error))
            return answer(request, queues_url(of))
        else:
            audit_details(request, application=of, queue=name)
            refresh_pages("queues", "workers")
            messages.success(request, f"{name} is paused." if is_new else f"{name} was already paused.")
            return answer(request, queues_url(of))
    sentence = (
        f"Until it is resumed, the workers of {of} take nothing from it, and Zenith sends nothing to it. Tasks already reserved"
        f" still run, and what {of} itself sends waits at its broker."
    )
    if view.unpausable:
        sentence += f" {_going_on(len(view.unpausable))} zenith_worker is too old for that."
    return ask(
        request, form, title=f"Pause {name}?", button="Pause", action=queue_action_url("pause", name, of), back=queues_url(of),
        sentence=sentence,
    )  # fmt: skip


def resume(request: HttpRequest, of: str, name: str) -> HttpResponse:
    """Resume a queue of the application `of`."""
    caller = authorize(request, OPERATE, Shows.of(of))
    audit_details(request, application=of, queue=name)
    if control.resume(_application(caller, of), name):
        refresh_pages("queues", "workers")
        messages.success(request, f"{name} is resumed.")
    else:
        messages.info(request, f"{name} is not paused.")
    return answer(request, queues_url(of))


def purge(request: HttpRequest, of: str, name: str) -> HttpResponse:
    """Confirm, naming the number of messages (GET), and purge a queue of the application `of` (POST)."""
    caller, application, _ = _get(request, of, name)
    if request.method == "POST":
        try:
            result = control.purge(application, name, by=caller.name)
        except (InvalidInputError, StateConflictError, CommandWithdrawnError, PurgeUnansweredError) as error:
            messages.warning(request, str(error))
            return answer(request, queues_url(of))
        audit_details(request, application=of, queue=name, revoked=result.revoked, messages_removed=result.removed)
        refresh_pages("queues", "workers")
        (messages.warning if result.error else messages.success)(request, said(result))
        return answer(request, queues_url(of))
    waiting = control.count_waiting(application, name)
    if waiting.messages is None:
        counted = f"How many messages wait in it is not known; {_tasks(waiting.known)} known to wait."
    else:
        counted = f"{waiting.messages:,} messages wait in it, as its workers counted last."
    unsent = f" {_tasks(waiting.unsent)} not sent yet." if waiting.unsent else ""
    return confirm(
        request, title=f"Purge {name}?", action=queue_action_url("purge", name, of), back=queues_url(of),
        button=f"Purge {waiting.number:,}" if waiting.messages is not None else "Purge",
        sentence=f"{counted}{unsent} A worker of {of} removes at most {control.MAX_PURGED:,} messages, and their tasks are"
        " revoked. Scheduled tasks stay. Whoever waits for a result of them is told nothing.",
    )  # fmt: skip


def said(result: AttachedPurged) -> str:
    """Return what came of a purge, in a sentence or more."""
    sentences = [f"{result.removed:,} messages removed, {result.revoked:,} tasks revoked."]
    if result.untold:
        sentences.append(f"{result.untold:,} messages did not say which task they were of.")
    if result.error:
        sentences.append(f"The purge failed or ended early: {result.error}.")
    elif result.remaining:
        sentences.append(f"{result.remaining:,} still wait: purge the queue again.")
    return " ".join(sentences)


def _get(request: HttpRequest, of: str, name: str) -> tuple[Caller, Application, AttachedQueue]:
    caller = authorize(request, OPERATE, Shows.of(of))
    application = _application(caller, of)
    view = queries.find(application, name)
    if view is None or application.is_watched:
        raise Http404(f"There is no queue {name[:100]!r}.")
    return caller, application, view


def _application(caller: Caller, of: str) -> Application:
    application = Application.named(of) if caller.sees(of) else None
    if application is None or application.is_native:
        raise Http404(f"There is no application {of[:50]!r}.")
    return application


def _tasks(number: int) -> str:
    return "1 task is" if number == 1 else f"{number:,} tasks are"


def _going_on(number: int) -> str:
    return "1 worker goes on, because its" if number == 1 else f"{number:,} workers go on, because their"
