"""Dead letters: in groups of one cause, one group with its letters, and what can be done about them."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from tasks_app.dispatch.create import Origin
from tasks_app.dispatch.replay import MAX_FIRST, MAX_NOTE, MAX_RATE, Replay, discard, matching, replay, stop_run
from tasks_app.insight import dead_letters
from tasks_app.insight.dead_letters import DeadLetterFilter, Group, Letter
from tasks_app.models import ReplayRun
from tasks_app.models.dead_letter import LetterState, Selection
from tasks_app.web.cursor import live
from zenith_site.common.callers import OPERATE, VIEW, Caller, caller_of, note
from zenith_site.common.downloads import MOST, download, wanted
from zenith_site.common.errors import InvalidInputError
from zenith_site.common.forms import ObjectField, add_problems
from zenith_site.common.pages import answer, ask, render_page

PAGE: Final = 50
RUNS_SHOWN: Final = 5
GROUP_COLUMNS: Final[list[tuple[str, Callable[[Group], Any]]]] = [
    (name, lambda group, name=name: getattr(group, name))  # type: ignore[misc]
    for name in ("fingerprint", "task_name", "error_type", "message", "frame", "count", "open", "first_at", "last_at")
]
LETTER_COLUMNS: Final[list[tuple[str, Callable[[Letter], Any]]]] = [
    ("task_id", lambda found: found.letter.task_id),
    ("task_name", lambda found: found.letter.task_name),
    ("queue", lambda found: found.letter.queue),
    ("error_type", lambda found: found.letter.error_type),
    ("state", lambda found: found.letter.state),
    ("created_at", lambda found: found.letter.created_at),
    ("resolved_at", lambda found: found.letter.resolved_at),
    ("resolved_by", lambda found: found.letter.resolved_by),
    ("note", lambda found: found.letter.note),
    ("replayed_by", lambda found: [str(id_) for id_ in found.replayed_by]),
]


@require_safe
@live
def groups(request: HttpRequest) -> HttpResponseBase:
    """Groups of dead letters, that with the newest failure first."""
    caller_of(request, VIEW)
    chosen = _filter(request, "OPEN")
    if kind := wanted(request):
        return download(kind, "dead-letter-groups", GROUP_COLUMNS, chosen.model_copy(update={"limit": 1000}).groups().groups)
    page = chosen.groups()
    context = {
        "groups": page.groups,
        "tabs": _tabs(request, chosen, "OPEN"),
        "chosen": chosen,
        "filtered": bool(chosen.task or chosen.error or dead_letters.any_at_all()),
        "open_matching": matching(_selection(chosen)).count(),
        "query": urlencode({name: value for name, value in (("task", chosen.task), ("error", chosen.error)) if value}),
        "runs": ReplayRun.objects.order_by("-id")[:RUNS_SHOWN],
        **_links(page.following, chosen),
    }
    return render_page(request, "dead_letters/groups.html", context, fragments=["dead_letters/_groups.html"])


@require_safe
@live
def group(request: HttpRequest, fingerprint: str) -> HttpResponseBase:
    """The letters of one group, newest first, with the traceback of the newest."""
    caller_of(request, VIEW)
    chosen = _filter(request, "").model_copy(update={"group": fingerprint})
    if kind := wanted(request):
        return download(kind, "dead-letters", LETTER_COLUMNS, _letters(chosen))
    found = DeadLetterFilter(group=fingerprint, limit=1).groups().groups
    if not found:
        raise Http404("There is no such group of dead letters; it may have been pruned.")
    page = chosen.page()
    newest = DeadLetterFilter(group=fingerprint, limit=1).page().letters
    context = {
        "group": found[0],
        "letters": page.letters,
        "traceback": dead_letters.traceback_of(newest[0].letter) if newest else "",
        "tabs": _tabs(request, chosen, ""),
        "chosen": chosen,
        "matching": found[0].open,
        "filtered": bool(chosen.state),
        **_links(page.following, chosen),
    }
    return render_page(request, "dead_letters/group.html", context, fragments=["dead_letters/_group.html"])


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
    caller = caller_of(request, OPERATE)
    chosen = _chosen(request)
    form = ReplayForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        asked = Replay(
            which=chosen,
            kwargs=form.cleaned_data["kwargs"],
            first=form.cleaned_data["first"] or 0,
            rate=form.cleaned_data["rate"],
        )
        try:
            result = replay(asked, _origin(caller))
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            note(request, replayed=len(result.done), run=str(result.run.id) if result.run else None)
            said = f"{result.run.total:,} are being replayed." if result.run else f"{len(result.done):,} replayed as new tasks."
            messages.success(request, said)
            return answer(request, "tasks:dead_letters")
    return _ask(request, form, chosen, "Replay", "{} sent again, as a new task each.")


@require_http_methods(["GET", "HEAD", "POST"])
def discard_letters(request: HttpRequest) -> HttpResponse:
    """Ask why to discard (GET), and do it (POST)."""
    caller = caller_of(request, OPERATE)
    chosen = _chosen(request)
    form = DiscardForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        count = discard(chosen, form.cleaned_data["note"], _origin(caller))
        note(request, discarded=count)
        messages.success(request, f"{count:,} discarded.")
        return answer(request, "tasks:dead_letters")
    return _ask(request, form, chosen, "Discard", "{} discarded. The tasks and their errors stay.", danger=True)


@require_POST
def stop(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """Stop a replay of many."""
    caller = caller_of(request, OPERATE)
    if stop_run(run_id, _origin(caller)):
        messages.success(request, "The replay stops. What was replayed stays so.")
    else:
        messages.info(request, "It was over already.")
    return answer(request, "tasks:dead_letters")


def _ask(
    request: HttpRequest, form: forms.Form, chosen: Selection, verb: str, sentence: str, *, danger: bool = False
) -> HttpResponse:
    count = matching(chosen).count()
    if not count:
        messages.info(request, "None of these dead letters is open.")
        return answer(request, "tasks:dead_letters")
    letters = "1 dead letter" if count == 1 else f"{count:,} dead letters"
    named = [(name, value) for name in ("id", "group", "task", "error", "all") for value in _sent(request).getlist(name)]
    return ask(
        request, form, title=f"{verb} dead letters?", sentence=sentence.format(f"{letters} {'is' if count == 1 else 'are'}"),
        action=reverse(f"tasks:{verb.lower()}_letters"), button=f"{verb} {letters}", back="tasks:dead_letters", fields=named,
        danger=danger,
    )  # fmt: skip


def _sent(request: HttpRequest) -> Any:
    return request.POST if request.method == "POST" else request.GET


def _chosen(request: HttpRequest) -> Selection:
    """Return what is meant: named letters, or all that match. A selection of nothing means no letter."""
    sent = _sent(request)
    everything = Selection(fingerprint=sent.get("group", ""), task_name=sent.get("task", ""), error_type=sent.get("error", ""))
    if sent.get("all"):
        return everything
    try:
        return Selection(task_ids=[UUID(text) for text in sent.getlist("id")])
    except ValueError:
        raise Http404("That is no id of a task.") from None


def _filter(request: HttpRequest, state: str) -> DeadLetterFilter:
    asked = request.GET
    shown = asked.get("state", state)
    cursor = asked.get("cursor", "")
    return DeadLetterFilter(
        limit=PAGE,
        state=LetterState(shown) if shown in LetterState.values else None,
        task=asked.get("task", "")[:200].replace("\0", ""),
        error=asked.get("error", "")[:200].replace("\0", ""),
        cursor=int(cursor) if cursor.isdecimal() and len(cursor) < 19 else 0,
    )


def _selection(chosen: DeadLetterFilter) -> Selection:
    return Selection(fingerprint=chosen.group, task_name=chosen.task, error_type=chosen.error)


def _letters(chosen: DeadLetterFilter) -> Any:
    left, following = MOST, chosen.model_copy(update={"limit": 1000})
    while following and left > 0:
        page = following.page()
        yield from page.letters[:left]
        left -= len(page.letters)
        if page.following is None:
            return
        following = page.following


def _links(following: DeadLetterFilter | None, chosen: DeadLetterFilter) -> dict[str, str]:
    def url(target: DeadLetterFilter) -> str:
        words = {"state": target.state or "ALL", "task": target.task, "error": target.error, "cursor": target.cursor}
        return "?" + urlencode({name: value for name, value in words.items() if value})

    return {
        "next_url": url(following) if following else "",
        "first_url": url(chosen.model_copy(update={"cursor": 0})) if chosen.cursor else "",
    }


def _tabs(request: HttpRequest, chosen: DeadLetterFilter, default: str) -> list[dict[str, Any]]:
    counts = dead_letters.state_counts(_selection(chosen))
    kept = {name: value for name, value in (("task", chosen.task), ("error", chosen.error)) if value}
    now = chosen.state.value if chosen.state else "ALL"
    return [
        {
            "label": label, "url": "?" + urlencode({**kept, "state": state}), "count": count, "current": state == now,
            "status": "",
        }
        for label, state, count in (
            *((state.label, state.value, counts.get(state.value, 0)) for state in LetterState),
            ("All", "ALL", sum(counts.values())),
        )
    ]  # fmt: skip


def _origin(caller: Caller) -> Origin:
    return Origin(source="page", sent_by=caller.name, user_id=caller.user.pk)
