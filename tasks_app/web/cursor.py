"""The event id after which an open page's socket continues: the newest event that the page may have read."""

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
    """Store the newest event's id on the request before the view reads anything, for the page's socket.

    The socket reports everything after that id, so the page misses nothing that happens between the view's first
    query and the opening of the socket. Costs one query.
    """

    @wraps(view)
    def with_cursor(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not wants_fragments(request):
            request.live_cursor = newest_id()  # type: ignore[attr-defined]
        return view(request, *args, **kwargs)

    return with_cursor
