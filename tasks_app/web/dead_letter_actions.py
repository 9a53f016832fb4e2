"""Deciding about dead letters from their pages: replaying and discarding, each after a question that names the count."""

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
from tasks_app.dispatch.replay import MAX_FIRST, MAX_NOTE, MAX_RATE, Replay, discard, matching, open_letters, replay, stop_run
from tasks_app.models import DeadLetter, ReplayRun
from tasks_app.models.dead_letter import Selection
from tasks_app.web.dead_letters import filter_of
from zenith_site.common.callers import OPERATE, Caller, audit_details, authorize
from zenith_site.common.errors import InvalidInputError
from zenith_site.common.forms import ObjectField, add_problems
from zenith_site.common.pages import answer, ask

#: Groups that one action takes: more than a page has.
MOST_GROUPS: Final = 100
#: Why a question has nothing to ask.
NONE: Final = {
    "Replay": "none of these dead letters is open and has arguments that can be sent again.",
    "Discard": "none of these dead letters is open.",
}
#: What a question passes on, so that its answer means the same letters.
MEANT: Final = ("id", "group", "task", "error", "age", "all")


class ReplayForm(forms.Form):
    """How to replay."""

    kwargs = ObjectField(
        required=False, label="Change arguments",
        help_text="A JSON object: these named arguments replace the tasks' own. Empty: as they were.",
    )  # fmt: skip
    first = forms.IntegerField(
        required=False, min_value=0, max_value=MAX_FIRST, label="A few first",
        help_text="So many first; the rest only if all of these succeed.",
    )  # fmt: skip
    rate = forms.FloatField(
        required=False, min_value=0.001, max_value=MAX_RATE, label="Tasks per second", help_text="Empty: as fast as they go."
    )


class DiscardForm(forms.Form):
    """Why they are discarded."""

    note = forms.CharField(
        required=False, max_length=MAX_NOTE, label="Note", help_text="For whoever wonders later.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def replay_letters(request: HttpRequest) -> HttpResponse:
    """Ask how to replay (GET), and do it (POST)."""
    caller = authorize(request, OPERATE)
    chosen = _chosen(request)
    form = ReplayForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        how = {"kwargs": form.cleaned_data["kwargs"], "first": form.cleaned_data["first"] or 0, "rate": form.cleaned_data["rate"]}
        try:
            # Groups have causes of their own, so of each a few go first; what one of them cannot take is taken by none.
            with transaction.atomic():
                results = [replay(Replay(which=which, **how), _origin(caller)) for which in chosen]
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            done = sum(len(result.done) for result in results)
            runs = [result.run for result in results if result.run]
            audit_details(request, replayed=done, runs=[str(run.id) for run in runs])
            messages.success(request, _said(done, runs))
            return answer(request, "tasks:dead_letters")
    return _ask(request, form, [matching(which) for which in chosen], "Replay", "{} sent again, as a new task each.")


@require_http_methods(["GET", "HEAD", "POST"])
def discard_letters(request: HttpRequest) -> HttpResponse:
    """Ask why to discard (GET), and do it (POST)."""
    caller = authorize(request, OPERATE)
    chosen = _chosen(request)
    form = DiscardForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            count = sum(discard(which, form.cleaned_data["note"], _origin(caller)) for which in chosen)
        audit_details(request, discarded=count)
        messages.success(request, f"{count:,} discarded.")
        return answer(request, "tasks:dead_letters")
    meant = [open_letters(which) for which in chosen]
    return _ask(request, form, meant, "Discard", "{} discarded. The tasks and their errors stay.", danger=True)


@require_POST
def stop(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """Stop a replay of many."""
    caller = authorize(request, OPERATE)
    if stop_run(run_id, _origin(caller)):
        messages.success(request, "The replay stops. What was replayed stays so.")
    else:
        messages.info(request, "It was over already.")
    return answer(request, "tasks:dead_letters")


def _ask(
    request: HttpRequest, form: forms.Form, meant: list[QuerySet[DeadLetter]], verb: str, sentence: str, *, danger: bool = False
) -> HttpResponse:
    count = sum(letters.count() for letters in meant)
    if not count:
        messages.info(request, f"There is nothing to {verb.lower()}: {NONE[verb]}")
        return answer(request, "tasks:dead_letters")
    letters = "1 dead letter" if count == 1 else f"{count:,} dead letters"
    of_groups = f" of {len(meant)} groups" if len(meant) > 1 else ""
    named = [(name, value) for name in MEANT for value in _sent(request).getlist(name)]
    return ask(
        request, form, title=f"{verb} dead letters?",
        sentence=sentence.format(f"{letters}{of_groups} {'is' if count == 1 else 'are'}"),
        action=reverse(f"tasks:{verb.lower()}_letters"), button=f"{verb} {letters}", back="tasks:dead_letters", fields=named,
        danger=danger,
    )  # fmt: skip


def _said(done: int, runs: list[ReplayRun]) -> str:
    """Return what became of a replay: what was sent, and what the engines will send."""
    parts = [f"{done:,} replayed as new tasks."] if done or not runs else []
    if runs:
        parts.append(f"{sum(run.total for run in runs):,} are being replayed.")
    return " ".join(parts)


def _sent(request: HttpRequest) -> Any:
    return request.POST if request.method == "POST" else request.GET


def _chosen(request: HttpRequest) -> list[Selection]:
    """Return what is meant: named letters, the named groups, or all that match. A selection of nothing means no letter."""
    sent = _sent(request)
    named = sent.getlist("group")[:MOST_GROUPS]
    if named or sent.get("all"):
        meant = filter_of(sent, "")
        names = dict.fromkeys(name[:200].replace("\0", "") for name in named or [""])
        return [meant.model_copy(update={"group": name}).selection() for name in names]
    try:
        return [Selection(task_ids=[UUID(text) for text in sent.getlist("id")])]
    except ValueError:
        raise Http404("That is no id of a task.") from None


def _origin(caller: Caller) -> Origin:
    return Origin(source="page", sent_by=caller.name, user_id=caller.user.pk)
