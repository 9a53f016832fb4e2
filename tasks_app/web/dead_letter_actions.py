"""Replay and discard dead letters from their pages, each after a confirmation that names their number."""

from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.replay import (
    MAX_FIRST,
    MAX_NOTE,
    MAX_RATE,
    Replay,
    discard,
    open_letters,
    replay,
    replayable_letters,
    stop_run,
)
from tasks_app.models import DeadLetter, ReplayRun
from tasks_app.models.application import Visible
from tasks_app.models.dead_letter import Selection
from tasks_app.web.dead_letters import filter_of
from zenith_site.common.callers import OPERATE, Shows, audit_details, authorize
from zenith_site.common.errors import InvalidInputError
from zenith_site.common.forms import ObjectField, add_problems
from zenith_site.common.pages import answer, ask

#: Groups that one action accepts: more than a page lists.
MOST_GROUPS: Final = 100
#: Why there is nothing to confirm, by verb.
NONE: Final = {
    "Replay": "none of these dead letters is open and has arguments that can be sent again.",
    "Discard": "none of these dead letters is open.",
}
#: The fields that a confirmation passes on, so that its answer selects the same letters.
SELECTION_FIELDS: Final = ("id", "group", "task", "error", "application", "age", "all")


class ReplayForm(forms.Form):
    """How to replay."""

    kwargs = ObjectField(
        required=False, label="Change arguments",
        help_text="A JSON object. These keyword arguments replace the originals. Leave empty to keep them.",
    )  # fmt: skip
    first = forms.IntegerField(
        required=False, min_value=0, max_value=MAX_FIRST, label="A few first",
        help_text="Replay this many first, and the rest only if all of these succeed.",
    )  # fmt: skip
    rate = forms.FloatField(
        required=False, min_value=0.001, max_value=MAX_RATE, label="Tasks per second", help_text="Leave empty for no limit."
    )


class DiscardForm(forms.Form):
    """The reason for discarding."""

    note = forms.CharField(
        required=False, max_length=MAX_NOTE, label="Note", help_text="The reason, kept with the dead letters.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def replay_letters(request: HttpRequest) -> HttpResponse:
    """Ask how to replay (GET), and replay (POST)."""
    caller = authorize(request, OPERATE, Shows.FILTERED)
    selections = _selections(request, caller.applications)
    form = ReplayForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        options = {"kwargs": data["kwargs"], "first": data["first"] or 0, "rate": data["rate"]}
        try:
            # Each group has its own cause, so `first` applies to each. If one group cannot be replayed this way, none is.
            with transaction.atomic():
                results = [replay(Replay(selection=selection, **options), Origin.of(caller, "page")) for selection in selections]
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            replayed = sum(len(result.done) for result in results)
            runs = [result.run for result in results if result.run]
            audit_details(request, replayed=replayed, runs=[str(run.id) for run in runs])
            messages.success(request, _replay_message(replayed, runs))
            return answer(request, "tasks:dead_letters")
    letters = [replayable_letters(selection) for selection in selections]
    return _ask(request, form, letters, "Replay", "{} replayed, each as a new task.")


@require_http_methods(["GET", "HEAD", "POST"])
def discard_letters(request: HttpRequest) -> HttpResponse:
    """Ask for a reason (GET), and discard (POST)."""
    caller = authorize(request, OPERATE, Shows.FILTERED)
    selections = _selections(request, caller.applications)
    form = DiscardForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            count = sum(discard(selection, form.cleaned_data["note"], Origin.of(caller, "page")) for selection in selections)
        audit_details(request, discarded=count)
        messages.success(request, f"{count:,} discarded.")
        return answer(request, "tasks:dead_letters")
    letters = [open_letters(selection) for selection in selections]
    return _ask(request, form, letters, "Discard", "{} discarded. The tasks and their errors stay.", danger=True)


@require_POST
def stop(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """Stop a replay run."""
    caller = authorize(request, OPERATE, Shows.EVERYTHING)
    if stop_run(run_id, Origin.of(caller, "page")):
        messages.success(request, "The replay stops. Tasks that it has dispatched continue.")
    else:
        messages.info(request, "This replay has already ended.")
    return answer(request, "tasks:dead_letters")


def _ask(
    request: HttpRequest,
    form: forms.Form,
    selected: list[QuerySet[DeadLetter]],
    verb: str,
    sentence: str,
    *,
    danger: bool = False,
) -> HttpResponse:
    count = sum(letters.count() for letters in selected)
    if not count:
        messages.info(request, f"There is nothing to {verb.lower()}: {NONE[verb]}")
        return answer(request, "tasks:dead_letters")
    letters = "1 dead letter" if count == 1 else f"{count:,} dead letters"
    of_groups = f" of {len(selected)} groups" if len(selected) > 1 else ""
    fields = [(name, value) for name in SELECTION_FIELDS for value in _parameters(request).getlist(name)]
    return ask(
        request, form, title=f"{verb} dead letters?",
        sentence=sentence.format(f"{letters}{of_groups} {'is' if count == 1 else 'are'}"),
        action=reverse(f"tasks:{verb.lower()}_letters"), button=f"{verb} {letters}", back="tasks:dead_letters", fields=fields,
        danger=danger,
    )  # fmt: skip


def _replay_message(replayed: int, runs: list[ReplayRun]) -> str:
    """Return how many dead letters were replayed, and how many the engine is replaying."""
    parts = [f"{replayed:,} replayed as new tasks."] if replayed or not runs else []
    if runs:
        parts.append(f"{sum(run.total for run in runs):,} are being replayed.")
    return " ".join(parts)


def _parameters(request: HttpRequest) -> Any:
    return request.POST if request.method == "POST" else request.GET


def _selections(request: HttpRequest, visible: Visible) -> list[Selection]:
    """Return what the request selects, of the applications that the caller may see: letters by id, groups, or all that match.

    Without any of these it selects no letter.
    """
    parameters = _parameters(request)
    groups = parameters.getlist("group")[:MOST_GROUPS]
    if groups or parameters.get("all"):
        base = filter_of(parameters, "", visible)
        fingerprints = dict.fromkeys(group[:200].replace("\0", "") for group in groups or [""])
        return [base.model_copy(update={"group": fingerprint}).selection().exact() for fingerprint in fingerprints]
    try:
        return [Selection(task_ids=[UUID(text) for text in parameters.getlist("id")], visible=visible)]
    except ValueError:
        raise Http404("That is not a task id.") from None
