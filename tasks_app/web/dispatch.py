"""The Dispatch page: choose a task, fill in the form made from its signature, preview the dispatch, and send it."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from tasks_app import catalog
from tasks_app.catalog import CatalogEntry
from tasks_app.dispatch.create import MAX_COUNT, MAX_PRIORITY, MAX_RETRIES, MAX_TIME_LIMIT, Dispatch, Origin, dispatch
from tasks_app.errors import DrillsOffError
from tasks_app.models import Task
from tasks_app.models.application import NATIVE_ID
from tasks_app.queries.tasks import named
from tasks_app.web.views import rate_limit_message
from zenith_site.common import jsonsafe, limits
from zenith_site.common.callers import DISPATCH, audit_details, authorize, refuse
from zenith_site.common.errors import InvalidInputError, InvalidJSONError, RateLimitedError
from zenith_site.common.forms import add_problems
from zenith_site.common.masking import mask, mask_problems
from zenith_site.common.pages import answer, render_page
from zenith_site.common.previews import EDITED, shorten
from zenith_worker.wire.queue_names import MAX_NAME

#: Characters that are read from an uploaded file; longer files are for the command line.
MAX_FILE: Final = 1_000_000
#: Prefix of an argument's field, so that it cannot clash with an option's.
ARGUMENT: Final = "arg-"
OPTIONS: Final = ("count", "queue", "priority", "not_before", "max_retries", "time_limit", "soft_time_limit", "expires_at")


class ValueField(forms.CharField):
    """A value of any type, as JSON; anything else is taken as text."""

    widget = forms.Textarea(attrs={"rows": 2, "spellcheck": "false"})

    def clean(self, value: Any) -> Any:
        """Return the value."""
        text = super().clean(value)
        try:
            return jsonsafe.parse(text.encode()) if text else None
        except InvalidJSONError:
            return text


class MomentField(forms.DateTimeField):
    """A time in UTC."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": 1}, format="%Y-%m-%dT%H:%M:%S")
    input_formats = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M")

    def clean(self, value: Any) -> datetime | None:
        """Return the time with its zone."""
        moment: datetime | None = super().clean(value)
        return moment and moment.replace(tzinfo=UTC)


class OptionsForm(forms.Form):
    """Options that every dispatch accepts."""

    count = forms.IntegerField(
        required=False, min_value=1, max_value=MAX_COUNT, label="Number of tasks", help_text="Leave empty for one."
    )
    queue = forms.CharField(required=False, max_length=MAX_NAME, label="Queue", help_text="Leave empty to use Celery's routing.")
    priority = forms.IntegerField(
        required=False, min_value=0, max_value=MAX_PRIORITY, label="Priority", help_text="0 goes first."
    )
    not_before = MomentField(required=False, label="Not before", help_text="In UTC. The task is held back until then.")
    max_retries = forms.IntegerField(required=False, min_value=0, max_value=MAX_RETRIES, label="Retries")
    time_limit = forms.IntegerField(required=False, min_value=1, max_value=MAX_TIME_LIMIT, label="Hard time limit (s)")
    soft_time_limit = forms.IntegerField(required=False, min_value=1, max_value=MAX_TIME_LIMIT, label="Soft time limit (s)")
    expires_at = MomentField(required=False, label="Expires", help_text="In UTC. The task does not start after this time.")


def arguments_form(entry: CatalogEntry, data: Any = None, files: Any = None, initial: dict[str, Any] | None = None) -> forms.Form:
    """Return the form for a task's arguments, made from its signature; optional arguments left empty are not sent."""
    form = forms.Form(data, files, initial=initial)
    schema = entry.arguments_schema
    for name, argument in schema["properties"].items():
        form.fields[ARGUMENT + name] = _field(name, argument, required=name in schema["required"])
    first = entry.first_argument
    if first and schema["properties"].get(first, {}).get("type") == "string":
        form.fields[ARGUMENT + first].required = False
        form.fields["file"] = forms.FileField(required=False, label="…or a text file", help_text=f"Replaces {first}; up to 1 MB.")
        form.fields["lines"] = forms.BooleanField(required=False, label="One task per line")
    return form


@require_http_methods(["GET", "HEAD", "POST"])
def dispatch_page(request: HttpRequest) -> HttpResponse:
    """Show the form (GET), preview a dispatch (POST with `preview`), or dispatch (POST)."""
    caller = authorize(request, DISPATCH)
    like = _like(request)
    parameters = request.POST if request.method == "POST" else request.GET
    name = parameters.get("task") or (like.name if like else "")
    entry = catalog.offered().get(name)
    context: dict[str, Any] = {
        "entries": list(catalog.offered().values()), "entry": entry, "name": name, "like": like, "drills": settings.ZENITH_DRILLS,
    }  # fmt: skip
    if entry is None:
        context["problem"] = str(DrillsOffError(name)) if name in catalog.entries() else ""
        return render_page(
            request, "dispatch/dispatch.html", context, fragments=["dispatch/_dispatch.html"],
            status=HTTPStatus.CONFLICT if context["problem"] and request.method == "POST" else HTTPStatus.OK,
        )  # fmt: skip
    posted = request.method == "POST"
    data, files = (request.POST, request.FILES) if posted else (None, None)
    values, too_large = _repeated(entry, like)
    arguments = arguments_form(entry, data, files, _initial(values))
    options = OptionsForm(request.POST if posted else None, initial=_options(like))
    context |= {"arguments": arguments, "options": options, "too_large": [] if posted else too_large}
    if posted and arguments.is_valid() and options.is_valid():
        try:
            new_dispatch = _dispatch_of(entry, arguments, options)
            if "preview" in request.POST:
                body, context["preview_cut"] = shorten(_body(new_dispatch))
                context["preview"] = json.dumps(body, indent=2, ensure_ascii=False)
            else:
                limits.count_trigger(caller)
                batch = dispatch(new_dispatch, Origin.of(caller, "page"))
                audit_details(request, tasks=len(batch.ids), batch=str(batch.batch_id))
                messages.success(request, f"{len(batch.ids):,} tasks dispatched." if len(batch.ids) > 1 else "Task dispatched.")
                target = (
                    reverse("tasks:task", args=[batch.ids[0]])
                    if len(batch.ids) == 1
                    else reverse("tasks:list") + "?" + urlencode({"q": f"batch:{batch.batch_id}"})
                )
                return answer(request, target, leave=True)
        except InvalidInputError as error:
            _add_errors(arguments, options, error)
        except RateLimitedError as error:
            refuse(request, str(error), HTTPStatus.TOO_MANY_REQUESTS)
            messages.info(request, rate_limit_message(error))
    refused = posted and "preview" not in context
    return render_page(
        request, "dispatch/dispatch.html", context, fragments=["dispatch/_dispatch.html"], status=422 if refused else 200
    )


def _field(name: str, argument: dict[str, Any], *, required: bool) -> forms.Field:
    kind = argument.get("type")
    type_help = f"{kind or 'any JSON value'}" + ("" if required else ", optional")
    default = argument.get("default")
    common: dict[str, Any] = {
        "label": name,
        "required": required,
        "help_text": argument.get("description") or type_help,
        "initial": default,
    }
    if kind == "integer":
        return forms.IntegerField(**common)
    if kind == "number":
        return forms.FloatField(**common)
    if kind == "boolean":
        choices = [("", "—"), ("true", "true"), ("false", "false")]
        return forms.TypedChoiceField(choices=choices, coerce=lambda value: value == "true", empty_value=None, **common)
    if kind == "string":
        return forms.CharField(strip=False, widget=forms.Textarea(attrs={"rows": 4}), **common)
    return ValueField(**common)


def _dispatch_of(entry: CatalogEntry, arguments: forms.Form, options: OptionsForm) -> Dispatch:
    """Return the dispatch that the forms describe. Raises InvalidInputError if a value is a mask instead of a secret."""
    schema = entry.arguments_schema
    kwargs = {
        field.removeprefix(ARGUMENT): value
        for field, value in arguments.cleaned_data.items()
        if field.startswith(ARGUMENT) and (value not in (None, "") or field.removeprefix(ARGUMENT) in schema["required"])
    }
    if problems := list(mask_problems(kwargs, "/kwargs")):
        raise InvalidInputError(*problems)
    given_options = {name: options.cleaned_data[name] for name in OPTIONS if options.cleaned_data[name] not in (None, "")}
    first = entry.first_argument or ""
    text = _text(arguments.cleaned_data.get("file")) or kwargs.get(first)
    if arguments.cleaned_data.get("lines") and isinstance(text, str):
        kwargs.pop(first, None)
        lines = [line for line in text.splitlines() if line.strip()]
        return Dispatch(task=entry.name, data=lines, kwargs=kwargs, **given_options)
    if arguments.cleaned_data.get("file"):
        kwargs[first] = text
    return Dispatch(task=entry.name, kwargs=kwargs, **{"count": 1, **given_options})


def _text(file: "UploadedFile[bytes] | None") -> str:
    return file.read(MAX_FILE).decode("utf-8", "replace").replace("\0", "") if file else ""


def _body(new_dispatch: Dispatch) -> dict[str, Any]:
    """Return the request body that makes the same dispatch through the API, with secrets masked."""
    fields = {name: value for name, value in asdict(new_dispatch).items() if value not in (None, {}, "")}
    return {name: value.isoformat() if isinstance(value, datetime) else mask(value) for name, value in fields.items()}


def _add_errors(arguments: forms.Form, options: OptionsForm, error: InvalidInputError) -> None:
    """Add each problem to its field: an argument, an option, else to the form as a whole."""
    for problem in error.problems:
        parts = problem.pointer.removeprefix("/").split("/")
        name = ARGUMENT + parts[1] if parts[0] == "kwargs" and len(parts) > 1 else parts[0]
        if name in arguments.fields:
            arguments.add_error(name, problem.detail)
        else:
            add_problems(options, InvalidInputError(problem))


def _like(request: HttpRequest) -> Task | None:
    """Return the task that the form starts as a copy of. Raises Http404 if there is none."""
    if not (task_id := request.GET.get("like")):
        return None
    like = named(task_id).first()
    if like is None or like.application_id != NATIVE_ID:
        raise Http404("There is no such task to copy.")
    return like


def _initial(values: dict[str, Any]) -> dict[str, Any]:
    return {
        ARGUMENT + name: value if isinstance(value, str | int | float) else json.dumps(value) for name, value in values.items()
    }


def _repeated(entry: CatalogEntry, like: Task | None) -> tuple[dict[str, Any], list[str]]:
    """Return a task's arguments by name, with secrets masked, and the names of those that are too large for a form."""
    if like is None:
        return {}, []
    values = {**dict(zip(entry.positional_names, like.args, strict=False)), **like.kwargs}
    fitting = {name: value for name, value in values.items() if not shorten(value, EDITED)[1]}
    return mask(fitting), [name for name in values if name not in fitting]


def _options(like: Task | None) -> dict[str, Any]:
    names = ("queue", "priority", "max_retries", "time_limit", "soft_time_limit")
    return {} if like is None else {name: getattr(like, name) for name in names}
