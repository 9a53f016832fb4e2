"""The Dispatch page: choose a task of an application, fill in the form made from its arguments, preview, and dispatch."""

import json
from dataclasses import asdict
from datetime import datetime
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
from tasks_app.catalog.advertised_entry import listed
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.errors import DrillsOffError
from tasks_app.models import Application, Task, TaskMessage
from tasks_app.models.application import NATIVE_ID
from tasks_app.queries.application_names import first_name, several_names
from tasks_app.queries.tasks import named
from tasks_app.web.application_switch import narrowed
from tasks_app.web.dispatch_forms import (
    OptionsForm,
    add_errors,
    arguments_form,
    given_arguments,
    given_options,
    initial_arguments,
    options_form,
)
from tasks_app.web.views import rate_limit_message
from zenith_site.common import limits
from zenith_site.common.callers import DISPATCH, Caller, Shows, audit_details, authorize, refuse
from zenith_site.common.errors import InvalidInputError, RateLimitedError
from zenith_site.common.masking import mask, mask_problems
from zenith_site.common.pages import answer, render_page
from zenith_site.common.previews import EDITED, shorten
from zenith_worker.wire.applications import NATIVE_NAME

#: Characters that are read from an uploaded file; longer files are for the command line.
MAX_FILE: Final = 1_000_000


@require_http_methods(["GET", "HEAD", "POST"])
@narrowed()
def dispatch_page(request: HttpRequest) -> HttpResponse:
    """Show the form (GET), preview a dispatch (POST with `preview`), or dispatch (POST)."""
    caller = authorize(request, DISPATCH, Shows.FILTERED)
    posted = request.method == "POST"
    parameters = request.POST if posted else request.GET
    like = _like(request, caller)
    application = _application_of(like) if like else _application(parameters.get("application", ""), caller)
    name = parameters.get("task") or (like.name if like else "")
    entry = catalog.offered(application).get(name)
    context = {**_catalogue(application, caller), **_picker(request, application), "entry": entry, "name": name, "like": like}
    if entry is None:
        context["problem"] = str(DrillsOffError(name)) if name in catalog.entries(application) else ""
        return _page(request, context, HTTPStatus.CONFLICT if context["problem"] and posted else HTTPStatus.OK)
    data, files = (request.POST, request.FILES) if posted else (None, None)
    values, left_out = _repeated(entry, like)
    arguments = arguments_form(entry, data, files, initial_arguments(entry, values))
    options = options_form(application, data, _options(like))
    context |= {"arguments": arguments, "options": options, "missing_in": _missing_in(application, entry), **left_out}
    if posted and arguments.is_valid() and options.is_valid():
        try:
            new_dispatch = _dispatch_of(application, entry, arguments, options)
            if "preview" not in request.POST:
                return _send(request, caller, new_dispatch)
            body, context["preview_cut"] = shorten(_body(new_dispatch))
            context["preview"] = json.dumps(body, indent=2, ensure_ascii=False)
        except InvalidInputError as error:
            add_errors(arguments, options, error)
        except RateLimitedError as error:
            refuse(request, str(error), HTTPStatus.TOO_MANY_REQUESTS)
            messages.info(request, rate_limit_message(error))
    refused = posted and "preview" not in context
    return _page(request, context, HTTPStatus.UNPROCESSABLE_ENTITY if refused else HTTPStatus.OK)


def _page(request: HttpRequest, context: dict[str, Any], status: HTTPStatus) -> HttpResponse:
    return render_page(request, "dispatch/dispatch.html", context, fragments=["dispatch/_dispatch.html"], status=status)


def _send(request: HttpRequest, caller: Caller, new_dispatch: Dispatch) -> HttpResponse:
    """Dispatch, and lead to the task or to the batch. Raises InvalidInputError or RateLimitedError."""
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


def _application(name: str, caller: Caller) -> Application:
    """Return the application with a name; without one Zenith's own, or else the first that the caller may see.

    Raises Http404 for an unknown name, and for one of an application that the caller may not see.
    """
    if not name and not caller.sees(NATIVE_NAME):
        name = first_name(caller.applications)
    name = name or NATIVE_NAME
    application = Application.named(name) if caller.sees(name) else None
    if application is None:
        raise Http404(f"There is no application {name[:50]!r}.")
    return application


def _application_of(task: Task) -> Application:
    if task.application_id is None or task.application_id == NATIVE_ID:
        return Application.native()
    return Application.objects.get(pk=task.application_id)


def _catalogue(application: Application, caller: Caller) -> dict[str, Any]:
    """Return what can be chosen: applications, if there are several, and tasks of one of them."""
    return {
        "application": application,
        "applications": several_names(caller.applications),
        "entries": list(catalog.offered(application).values()),
        "drills": settings.ZENITH_DRILLS,
        "live": None if application.is_native else catalog.catalogues_of(application.pk),
    }


def _picker(request: HttpRequest, application: Application) -> dict[str, Any]:
    """Return the tasks that the search in the picker finds, and the other parameters of the address, which it keeps."""
    q = request.GET.get("q", "").strip()[:200].replace("\0", "")
    found = [entry for name, entry in catalog.offered(application).items() if q.casefold() in name.casefold()]
    kept = [(name, request.GET[name]) for name in ("application", "task", "like") if request.GET.get(name)]
    return {"q": q, "found": found, "kept": kept}


def _missing_in(application: Application, entry: CatalogEntry) -> int:
    """Return how many of the versions of another application that run do not have a task."""
    if application.is_native:
        return 0
    live = catalog.catalogues_of(application.pk)
    return len(live.tasks) - live.having(entry.name)


def _dispatch_of(application: Application, entry: CatalogEntry, arguments: forms.Form, options: OptionsForm) -> Dispatch:
    """Return the dispatch that the forms describe. Raises InvalidInputError if a value is a mask instead of a secret."""
    kwargs = given_arguments(entry, arguments)
    if problems := list(mask_problems(kwargs, "/kwargs")):
        raise InvalidInputError(*problems)
    common = {"task": entry.name, "application": application.name, **given_options(options)}
    first = entry.first_argument or ""
    text = _text(arguments.cleaned_data.get("file")) or kwargs.get(first)
    if arguments.cleaned_data.get("lines") and isinstance(text, str):
        kwargs.pop(first, None)
        return Dispatch(data=[line for line in text.splitlines() if line.strip()], kwargs=kwargs, **common)
    if arguments.cleaned_data.get("file"):
        kwargs[first] = text
    return Dispatch(kwargs=kwargs, **{"count": 1, **common})


def _text(file: "UploadedFile[bytes] | None") -> str:
    return file.read(MAX_FILE).decode("utf-8", "replace").replace("\0", "") if file else ""


def _body(new_dispatch: Dispatch) -> dict[str, Any]:
    """Return the request body that makes the same dispatch through the API, with secrets masked."""
    fields = {name: value for name, value in asdict(new_dispatch).items() if value not in (None, {}, "")}
    if new_dispatch.application == NATIVE_NAME:
        del fields["application"]
    return {name: value.isoformat() if isinstance(value, datetime) else mask(value) for name, value in fields.items()}


def _like(request: HttpRequest, caller: Caller) -> Task | None:
    """Return the task that the form starts as a copy of. Raises Http404 if there is none."""
    if not (task_id := request.GET.get("like")):
        return None
    like = named(task_id, caller.applications).first()
    if like is None:
        raise Http404("There is no such task to copy.")
    return like


def _repeated(entry: CatalogEntry, like: Task | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a task's arguments by name, with secrets masked, and what the page says of those that are left out."""
    if like is None:
        return {}, {}
    if TaskMessage.objects.filter(task=like, extras__opaque=True).exists():
        return {}, {"opaque": True}
    values = {**dict(zip(entry.positional_names, like.args, strict=False)), **like.kwargs}
    fitting = {name: value for name, value in values.items() if not shorten(value, EDITED)[1]}
    no_field = _without_field(entry, like)
    return mask(fitting), {
        "too_large": [name for name in values if name not in fitting],
        "no_field": listed(no_field) if no_field else "",
    }


def _without_field(entry: CatalogEntry, like: Task) -> list[str]:
    """Return which arguments of a task to copy have no field in a form, such as those of `*args`."""
    schema = entry.arguments_schema
    by_position = [f"argument {number}" for number in range(len(entry.positional_names) + 1, len(like.args) + 1)]
    unknown = [] if schema["additionalProperties"] else like.kwargs.keys() - schema["properties"].keys()
    return [*by_position, *sorted(name[:100] for name in unknown)]


def _options(like: Task | None) -> dict[str, Any]:
    """Return the options of the task to copy. Another application's own routes and retries are not among them."""
    if like is None:
        return {}
    names = ("priority", "time_limit", "soft_time_limit", *(("queue", "max_retries") if like.application_id == NATIVE_ID else ()))
    return {name: getattr(like, name) for name in names}
