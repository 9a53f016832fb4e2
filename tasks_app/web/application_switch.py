"""The application that a person has chosen in the sidebar. It is in their session.

It is the default of pages that can show one application: such a page, opened without any filter, redirects to its address with
`?application=`. So the address always says what a page shows, and what an address with filters lists is the same for everybody.
The API knows nothing of the choice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final
from urllib.parse import urlencode

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from tasks_app.queries.application_names import several_names
from zenith_site.common.callers import VIEW, Shows, applications_of, authorize
from zenith_site.common.pages import answer, wants_fragments

#: Where the session keeps the name; without it, all applications are shown.
KEY: Final = "application"
_View = Callable[..., HttpResponseBase]


@dataclass(frozen=True, slots=True)
class Switch:
    """The choice in the sidebar.

    Attributes:
        names: the applications to choose from; empty if there is only Zenith's own.
        chosen: the name of the chosen one, or empty for all.
        leads_to: the path of the page to which a choice leads.
    """

    names: list[str]
    chosen: str
    leads_to: str


def switch_of(request: HttpRequest, names: list[str]) -> Switch:
    """Return the choice between these applications. A choice that is none of them any more is all."""
    chosen = request.session.get(KEY, "")
    return Switch(names, chosen if chosen in names else "", _leads_to(request))


def narrowed() -> Callable[[_View], _View]:
    """Decorate a view that shows one application with `?application=`: without any filter, that is the chosen one."""

    def decorate(view: _View) -> _View:
        @wraps(view)
        def narrowed_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            request.is_narrowed = True  # type: ignore[attr-defined]
            chosen = _chosen(request)
            if not chosen:
                return view(request, *args, **kwargs)
            return redirect(f"{request.path}?{urlencode({'application': chosen})}")

        return narrowed_view

    return decorate


@require_POST
def choose(request: HttpRequest) -> HttpResponseBase:
    """Store the choice, and show the same page for the chosen application."""
    caller = authorize(request, VIEW, Shows.FILTERED)
    name = request.POST.get("application", "")
    if name and name not in several_names(caller.applications):
        raise Http404(f"There is no application {name[:50]!r}.")
    if name:
        request.session[KEY] = name
    else:
        request.session.pop(KEY, None)
    return answer(request, "tasks:overview", leave=True)


def _chosen(request: HttpRequest) -> str:
    """Return the chosen application if the address has no filter that says otherwise."""
    if request.method not in ("GET", "HEAD") or request.GET or not request.user.is_authenticated or _is_refetch(request):
        return ""
    chosen = request.session.get(KEY, "")
    return chosen if chosen and chosen in several_names(applications_of(request.user)) else ""


def _is_refetch(request: HttpRequest) -> bool:
    """Whether an open page reads its fragments again: it goes on showing what it shows."""
    return wants_fragments(request) and not request.htmx.boosted  # type: ignore[attr-defined]


def _leads_to(request: HttpRequest) -> str:
    match = request.resolver_match
    if match is not None and match.view_name == "tasks:application":
        return reverse("tasks:overview")
    # What the page's filters selected may not be in another application.
    return request.path if getattr(request, "is_narrowed", False) else request.get_full_path()
