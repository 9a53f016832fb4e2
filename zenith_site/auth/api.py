"""How the API authenticates and authorizes a caller: by a token in a header, else by a person's session.

An operation that changes something names its permission in its route (`auth=requires(DISPATCH)`), so that the permission is
checked before a body of several megabytes is read. Operations that only read call `authorize` (zenith_site/common/callers.py),
as pages do.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from ninja.errors import AuthenticationError, HttpError
from ninja.security import APIKeyHeader, HttpBearer, SessionAuth

from zenith_site import problems
from zenith_site.auth.tokens import caller_for, find_token
from zenith_site.common.callers import Caller, Shows, refuse

#: What an operation shows, or how that follows from the request.
Shown = Shows | Callable[[HttpRequest], Shows]


class ApiKey(APIKeyHeader):
    """The field `X-API-Key: TOKEN`."""

    param_name = "X-API-Key"

    def __init__(self, permission: str | None = None, shows: Shown = Shows.OWN) -> None:
        super().__init__()
        self.permission, self.shows = permission, shows

    def authenticate(self, request: HttpRequest, key: str | None) -> Caller | None:
        """Return the token's caller; None without the field."""
        return None if key is None else _admit(request, _caller(request, key), self.permission, self.shows)


class Bearer(HttpBearer):
    """The field `Authorization: Bearer TOKEN`."""

    def __init__(self, permission: str | None = None, shows: Shown = Shows.OWN) -> None:
        super().__init__()
        self.permission, self.shows = permission, shows

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        """Return the token's caller."""
        return _admit(request, _caller(request, token), self.permission, self.shows)


class Session(SessionAuth):
    """A person's session, with Django's CSRF check on unsafe methods."""

    def __init__(self, permission: str | None = None, shows: Shown = Shows.OWN) -> None:
        super().__init__()
        self.permission, self.shows = permission, shows

    def __call__(self, request: HttpRequest) -> Caller | None:
        """Return the person. Authentication is checked before the CSRF token."""
        if not request.user.is_authenticated:
            return None
        try:
            super().__call__(request)
        except HttpError as error:
            # django-ninja called the view that explains the failure (zenith_site/auth/csrf.py), but its own message says less.
            raise HttpError(error.status_code, getattr(request, "csrf_failure", error.message)) from error
        return _admit(request, Caller.person(request.user), self.permission, self.shows)


def requires(permission: str | None, shows: Shown = Shows.OWN) -> tuple[ApiKey, Bearer, Session]:
    """Return an operation's `auth`: it admits callers who have a permission (None: any caller) and may see what it shows.

    The order matters: if there is a token, it decides, even if there is a session too.
    """
    return ApiKey(permission, shows), Bearer(permission, shows), Session(permission, shows)


ANY_OF: Final = requires(None)


def require_caller(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Guard an API view that is not an operation, such as its documentation; browsers are sent to the login."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            is_authenticated = any(check(request) for check in ANY_OF)
        except HttpError as error:
            return problems.from_http_error(request, error)
        if is_authenticated:
            return view(request, *args, **kwargs)
        if problems.is_for_program(request):
            return problems.from_http_error(request, AuthenticationError())
        return redirect_to_login(request.get_full_path())

    return guarded


def _admit(request: HttpRequest, caller: Caller, permission: str | None, shows: Shown) -> Caller:
    """Return the caller. Raises PermissionDenied as `Caller.require` does; the request then knows who it was."""
    request.auth = caller  # type: ignore[attr-defined]
    if permission is not None:
        caller.require(permission, shows if isinstance(shows, Shows) else shows(request))
    return caller


def _caller(request: HttpRequest, raw: str) -> Caller:
    """Return the caller of a raw token. Raises AuthenticationError if the token is not valid."""
    token, why = find_token(raw.strip())
    if token is None or why:
        request.refused_token = token  # type: ignore[attr-defined]
        refuse(request, why)
        raise AuthenticationError(message="This token is unknown, expired or revoked.")
    request.user = token.user
    request.api_token = token  # type: ignore[attr-defined]
    return caller_for(token)
