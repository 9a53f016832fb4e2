"""How the API learns who asks, and whether they may: a token in a header, else the session of a person.

An operation that changes something names its permission in its route (`auth=requires(DISPATCH)`), so that it is checked before
the body is read: reading one of several megabytes is work that is done for nobody who may not ask for it. Operations that only
read ask `authorize` (zenith_site/common/callers.py), as pages do.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from ninja.errors import AuthenticationError, HttpError
from ninja.security import APIKeyHeader, HttpBearer, SessionAuth

from zenith_site import problems
from zenith_site.auth.tokens import caller_for, look_up
from zenith_site.common.callers import Caller, refuse


class ApiKey(APIKeyHeader):
    """The field `X-API-Key: TOKEN`."""

    param_name = "X-API-Key"

    def __init__(self, permission: str | None = None) -> None:
        super().__init__()
        self.permission = permission

    def authenticate(self, request: HttpRequest, key: str | None) -> Caller | None:
        """Return the token's caller; None without the field."""
        return None if key is None else _admit(request, _caller(request, key), self.permission)


class Bearer(HttpBearer):
    """The field `Authorization: Bearer TOKEN`."""

    def __init__(self, permission: str | None = None) -> None:
        super().__init__()
        self.permission = permission

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        """Return the token's caller."""
        return _admit(request, _caller(request, token), self.permission)


class Session(SessionAuth):
    """A person's session, with Django's CSRF check on what changes anything."""

    def __init__(self, permission: str | None = None) -> None:
        super().__init__()
        self.permission = permission

    def __call__(self, request: HttpRequest) -> Caller | None:
        """Return the person; a stranger is asked to log in before any CSRF token is."""
        if not request.user.is_authenticated:
            return None
        try:
            super().__call__(request)
        except HttpError as error:
            # django-ninja asked the view that explains it (zenith_site/auth/csrf.py), and says less.
            raise HttpError(error.status_code, getattr(request, "csrf_failure", error.message)) from error
        return _admit(request, Caller.person(request.user), self.permission)


def requires(permission: str | None) -> tuple[ApiKey, Bearer, Session]:
    """Return what lets callers in who have a permission (None: any caller); `auth` of an operation takes it.

    In this order: a token that is given decides, even where there is a session too.
    """
    return ApiKey(permission), Bearer(permission), Session(permission)


ANY_OF: Final = requires(None)


def for_callers_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Guard a view of the API that is no operation (its documentation); browsers may log in."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            known = any(check(request) for check in ANY_OF)
        except HttpError as error:
            return problems.from_http_error(request, error)
        if known:
            return view(request, *args, **kwargs)
        if problems.is_for_program(request):
            return problems.from_http_error(request, AuthenticationError())
        return redirect_to_login(request.get_full_path())

    return guarded


def _admit(request: HttpRequest, caller: Caller, permission: str | None) -> Caller:
    """Return the caller. Raises PermissionDenied for one who may not; the request then knows who that was."""
    request.auth = caller  # type: ignore[attr-defined]
    if permission is not None:
        caller.require(permission)
    return caller


def _caller(request: HttpRequest, raw: str) -> Caller:
    """Return the caller that a raw token stands for.

    Raises AuthenticationError for one that opens nothing.
    """
    token, why = look_up(raw.strip())
    if token is None or why:
        request.refused_token = token  # type: ignore[attr-defined]
        refuse(request, why)
        raise AuthenticationError(message="This token is unknown, expired or revoked.")
    request.user = token.user
    request.api_token = token  # type: ignore[attr-defined]
    return caller_for(token)
