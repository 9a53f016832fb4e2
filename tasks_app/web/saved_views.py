"""Saved views of the task list: saving the present filter, order and columns, and renaming, sharing and deleting."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.urls import reverse
from django.views.decorators.http import require_http_methods
from pydantic import ValidationError

from tasks_app.control import saved_views as control
from tasks_app.models import SavedView
from tasks_app.models.saved_view import MAX_VIEW_NAME
from tasks_app.queries.tasks import TaskFilter
from tasks_app.web.task_columns import PARAMETER, chosen_columns, columns_query
from tasks_app.web.task_tabs import list_url
from zenith_site.common.callers import OPERATE, VIEW, Caller, Shows, audit_details, authorize
from zenith_site.common.errors import InvalidInputError
from zenith_site.common.forms import add_problems
from zenith_site.common.masking import mask_text
from zenith_site.common.pages import answer, ask, confirm

#: The parameters of the list's address that a view keeps, beside the columns.
KEPT = ("status", "task", "application", "q", "sort")


class ViewForm(forms.Form):
    """A view's name, and whether others see it."""

    name = forms.CharField(max_length=MAX_VIEW_NAME, label="Name")
    shared = forms.BooleanField(
        required=False,
        label="Share it",
        help_text="Everybody who may see these tasks sees it; whoever may operate can change it.",
    )

    def __init__(self, caller: Caller, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not caller.may(OPERATE):
            del self.fields["shared"]


def view_query(task_filter: TaskFilter, columns: tuple[str, ...]) -> str:
    """Return the query that a view of this filter and these columns keeps."""
    first_page = task_filter.model_copy(update={"cursor": "", "limit": TaskFilter().limit})
    # Without any filter the page would show the application that is chosen in the sidebar.
    return list_url(first_page.query_string(), columns_query(columns)).removeprefix("?") or "application="


def view_tabs(views: list[SavedView], query: str, caller: Caller) -> list[dict[str, Any]]:
    """Return the views as tabs; the one that the page shows is lit."""
    return [
        {
            "label": mask_text(view.name), "url": f"?{view.query}", "count": None, "current": view.query == query, "status": "",
            "id": view.pk, "shared": view.is_shared, "may_change": control.may_change(view, caller),
        }
        for view in views
    ]  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def new_view(request: HttpRequest) -> HttpResponse:
    """Ask for a name (GET), and save the filter of the address under it (POST)."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    parameters = request.POST if request.method == "POST" else request.GET
    task_filter = _filter_of(parameters)
    query = view_query(task_filter, chosen_columns(parameters))
    form = ViewForm(caller, request.POST if request.method == "POST" else None)
    back = f"{reverse('tasks:list')}?{query}"
    if request.method == "POST" and form.is_valid():
        shared = form.cleaned_data.get("shared", False)
        try:
            view = control.save_view(form.cleaned_data["name"], query, task_filter.application, caller, shared=shared)
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            audit_details(request, view=view.pk, shared=shared)
            messages.success(request, "The view is saved.")
            return answer(request, back)
    fields = [(name, parameters.get(name, "")) for name in KEPT if parameters.get(name)]
    fields += [(PARAMETER, value) for value in columns_query(chosen_columns(parameters)).values()]
    return ask(
        request, form, title="Save this view?",
        sentence="The filter, the order and the columns of the list are kept under a name. A view of the same name is replaced.",
        action=reverse("tasks:new_view"), button="Save", back=back, fields=fields,
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def edit_view(request: HttpRequest, view_id: int) -> HttpResponse:
    """Ask for a view's new name and whether it is shared (GET), and change it (POST)."""
    caller, view = _changeable(request, view_id)
    bound = request.POST if request.method == "POST" else None
    form = ViewForm(caller, bound, initial={"name": view.name, "shared": view.is_shared})
    back = f"{reverse('tasks:list')}?{view.query}"
    if request.method == "POST" and form.is_valid():
        shared = form.cleaned_data.get("shared", False)
        try:
            control.change_view(view, form.cleaned_data["name"], caller, shared=shared)
        except InvalidInputError as error:
            add_problems(form, error)
        else:
            audit_details(request, view=view.pk, shared=shared)
            messages.success(request, "The view is changed.")
            return answer(request, back)
    return ask(
        request, form, title="Change this view?", sentence="What it shows stays the same.",
        action=reverse("tasks:edit_view", args=[view_id]), button="Change", back=back,
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def delete_view(request: HttpRequest, view_id: int) -> HttpResponse:
    """Confirm that a view is deleted (GET), and delete it (POST)."""
    _, view = _changeable(request, view_id)
    if request.method == "POST":
        audit_details(request, view=view.pk, shared=view.is_shared)
        view.delete()
        messages.success(request, "The view is deleted.")
        return answer(request, "tasks:list")
    return confirm(
        request, title="Delete this view?",
        sentence="Nobody will see it any longer." if view.is_shared else "It is your own. No task is changed.",
        action=reverse("tasks:delete_view", args=[view_id]), button="Delete the view", back="tasks:list",
    )  # fmt: skip


def _changeable(request: HttpRequest, view_id: int) -> tuple[Caller, SavedView]:
    """Return the caller and the view. Raises Http404 if they may not see it, and PermissionDenied if they may not change it."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    view = control.views_of(caller).filter(pk=view_id).first()
    if view is None:
        raise Http404("There is no such view.")
    if not control.may_change(view, caller):
        authorize(request, OPERATE, Shows.FILTERED)
    return caller, view


def _filter_of(parameters: QueryDict) -> TaskFilter:
    """Return the filter to save. Raises Http404 if it is invalid, or searches for values that are hidden from some."""
    try:
        task_filter = TaskFilter(**{name: parameters[name] for name in KEPT if parameters.get(name)})  # type: ignore[arg-type]
        task_filter.search()
    except (ValidationError, InvalidInputError):
        raise Http404("This filter cannot be saved.") from None
    return task_filter
