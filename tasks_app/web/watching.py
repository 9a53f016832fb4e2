"""The forms with which administrators begin to watch an application, change how, and end it. No page shows a broker's URL."""

from __future__ import annotations

import re
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import resolve_url
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from tasks_app.control import watching
from tasks_app.control.watching import UnusableBrokerError
from tasks_app.models import Application
from tasks_app.watching.applications import Watch, removal, remove
from tasks_app.watching.brokers import SERIALIZERS
from tasks_app.watching.connection_tests import NotTestedError
from zenith_site.common.callers import ADMINISTER, Shows, audit_attempt, audit_details, authorize
from zenith_site.common.errors import InvalidInputError, StateConflictError
from zenith_site.common.forms import add_problems
from zenith_site.common.pages import answer, confirm, render_page, wants_fragments

FORM: Final = "applications/_watch_form.html"
TESTED: Final = "applications/_tested.html"
_URL_HELP: Final = (
    "redis://:PASSWORD@HOST:6379/0, rediss://…, sentinel://…?master_name=NAME, amqp://USER:PASSWORD@HOST/VHOST or amqps://…, as"
    " the engine reaches it. It is encrypted, and never shown again."
)


class WatchForm(forms.Form):
    """How to watch an application. The URL is never given back to the browser."""

    name = forms.CharField(
        label="Name", max_length=50, help_text="What pages call it: lower-case letters, digits, and hyphens between them.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip
    url = forms.CharField(
        label="URL of its broker", max_length=4096, help_text=_URL_HELP,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password", "spellcheck": "false"}),
    )  # fmt: skip
    key_prefix = forms.CharField(
        label="Key prefix", required=False, max_length=100, strip=False,
        help_text="On Redis, its global_keyprefix. Most have none.",
    )  # fmt: skip
    serializers = forms.CharField(
        label="Serializers", initial="json", max_length=50,
        help_text=f"What its workers write, separated by commas; Zenith writes the first. {', '.join(SERIALIZERS)} are possible.",
    )  # fmt: skip
    enable_events = forms.BooleanField(
        label="Ask its workers to send events", required=False, initial=True,
        help_text="Every ten seconds, as Flower does. Without, only workers that were started with -E tell of tasks.",
    )  # fmt: skip
    test = forms.BooleanField(
        label="Test the connection before saving", required=False, initial=True,
        help_text="An engine connects and listens for a moment. If it cannot, nothing is saved.",
    )  # fmt: skip

    def __init__(self, data: Any = None, row: Application | None = None) -> None:
        initial = {}
        if row is not None:
            initial = {"key_prefix": row.key_prefix, "serializers": row.serializers, "enable_events": row.enables_events}
        super().__init__(data, initial=initial)
        if row is not None:
            del self.fields["name"]
        if row is not None and row.broker:
            self.fields["url"].required = False
            self.fields["url"].help_text = f"Leave empty to keep the one that is stored. {_URL_HELP}"

    def changes(self) -> Watch:
        """Return what was entered."""
        data = self.cleaned_data
        return Watch(
            url=data["url"] or None, key_prefix=data["key_prefix"], enables_events=data["enable_events"],
            serializers=list(filter(None, re.split(r"[,\s]+", data["serializers"]))),
        )  # fmt: skip


@sensitive_post_parameters("url")
@require_http_methods(["GET", "HEAD", "POST"])
def watch_application(request: HttpRequest) -> HttpResponse:
    """Show the form (GET), and begin to watch an application (POST)."""
    authorize(request, ADMINISTER, Shows.EVERYTHING)
    return _form(request, None)


@sensitive_post_parameters("url")
@require_http_methods(["GET", "HEAD", "POST"])
def change_watching(request: HttpRequest, name: str) -> HttpResponse:
    """Show how an application is watched (GET), and change it (POST)."""
    authorize(request, ADMINISTER, Shows.EVERYTHING)
    return _form(request, _watched(name))


@require_http_methods(["GET", "HEAD", "POST"])
def end_watching(request: HttpRequest, name: str) -> HttpResponse:
    """Ask before an application is not watched any more (GET), and end it (POST)."""
    authorize(request, ADMINISTER, Shows.EVERYTHING)
    row = _watched(name)
    if request.method == "POST":
        told = remove(row.name)
        audit_details(request, application=row.name, workers=told.workers)
        messages.success(request, f"{row.name} is not watched any more.")
        return answer(request, "tasks:applications", leave=True)
    return confirm(
        request,
        title=f"Stop watching {row.name}?",
        sentence=" ".join(removal(row.name).lines("To be")),
        action=reverse("tasks:end_watching", args=[row.name]),
        button=f"Stop watching {row.name}",
        # Its own page may be gone afterwards.
        back="tasks:applications",
    )


def _form(request: HttpRequest, row: Application | None) -> HttpResponse:
    form = WatchForm(request.POST if request.method == "POST" else None, row)
    only_tests = request.method == "POST" and "only_test" in request.POST
    tested = not_tested = ""
    if request.method == "POST" and form.is_valid():
        try:
            if not only_tests:
                return _saved(request, form, row)
            name = row.name if row else form.cleaned_data["name"]
            audit_attempt(request, application=name, tested=True)
            tested = watching.why_unusable(name, form.changes(), row)
        except UnusableBrokerError as error:
            tested = error.reason
        except NotTestedError as error:
            not_tested = str(error)
        except InvalidInputError as error:
            add_problems(form, error)
        except StateConflictError as error:
            form.add_error(None, str(error))
    context = {
        "form": form, "row": row, "tested": tested, "not_tested": not_tested, "saves": not only_tests,
        "is_usable": only_tests and not (form.errors or tested or not_tested),
        "address": resolve_url("tasks:change_watching", row.name) if row else resolve_url("tasks:watch_application"),
    }  # fmt: skip
    # What was typed stays in the open page, also the URL, unless a field is wrong.
    keeps_form = form.is_bound and not form.errors and wants_fragments(request)
    status = 422 if form.errors or not_tested or (tested and not only_tests) else 200
    fragments = [TESTED] if keeps_form else [FORM]
    return render_page(request, "applications/watch.html", context, fragments=fragments, status=status)


def _saved(request: HttpRequest, form: WatchForm, row: Application | None) -> HttpResponse:
    """Watch or change the application. Raises what `watching.begin` raises."""
    data, changes = form.cleaned_data, form.changes()
    tells = audit_attempt if data["test"] else audit_details
    tells(request, application=row.name if row else data["name"], new_url=changes.url is not None, tested=data["test"])
    if row is None:
        row = watching.begin(data["name"], changes, test=data["test"])
        messages.success(request, f"{row.name} is watched from now on. An engine begins within seconds.")
    else:
        row = watching.change(row, changes, test=data["test"])
        messages.success(request, f"{row.name} was changed; its observer connects again within seconds.")
    return answer(request, _page(row.name), leave=True)


def _watched(name: str) -> Application:
    row = watching.watched(name)
    if row is None:
        raise Http404(f"There is no watched application {name[:50]!r}.")
    return row


def _page(name: str) -> str:
    return reverse("tasks:application", args=[name])
