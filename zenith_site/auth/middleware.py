"""Closed by default: every view requires a login unless it opts out."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from zenith_site.common.callers import VIEW, Caller, Shows


class ClosedByDefaultMiddleware(LoginRequiredMiddleware):
    """Redirects anonymous requests to the login page, except for the API, which has its own authentication.

    People who are limited to some applications may not use the admin. The API answers programs with 401; every operation
    requires authentication unless it says `auth=None`. Only the login page, `/health`, `/ready` and `/metrics` are open
    (tests/integration/test_auth_doors.py walks all routes).
    """

    def process_view(
        self,
        request: HttpRequest,
        view_func: Callable[..., HttpResponseBase],
        view_args: tuple[Any, ...],
        view_kwargs: dict[str, Any],
    ) -> HttpResponseBase | None:
        """Return a redirect to the login, or None to continue."""
        match = request.resolver_match
        if match is not None and match.app_names == ["ninja"]:
            return None
        response = super().process_view(request, view_func, view_args, view_kwargs)
        # The admin's pages show the rows of all applications, and who may see which.
        if response is None and match is not None and match.app_names == ["admin"] and request.user.is_authenticated:
            Caller.person(request.user).require(VIEW, Shows.EVERYTHING)
        return response
