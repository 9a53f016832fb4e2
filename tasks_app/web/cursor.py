"""Where an open page's socket goes on: after the newest event that the page may have seen."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from tasks_app.queries.feed import newest_id
from zenith_site.common.pages import wants_fragments

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def with_event_cursor(view: View[P]) -> View[P]:
    """Give a view's page the id of the newest event as it was before the view read anything.

    The page's socket then tells it of everything after that, so nothing that happens between the
    view's first query and the socket's opening is missed. Costs one query.
    """

    @wraps(view)
    def with_cursor(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not wants_fragments(request):
            request.live_cursor = newest_id()  # type: ignore[attr-defined]
        return view(request, *args, **kwargs)

    return with_cursor
