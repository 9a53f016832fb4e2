"""How the API learns who asks: a token in a header, else the session of a person."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from ninja.errors import AuthenticationError, HttpError
from ninja.security import APIKeyHeader, HttpBearer, SessionAuth

from zenith_site import problems
from zenith_site.auth.tokens import authenticate_token, caller_for
from zenith_site.common.callers import Caller


class ApiKey(APIKeyHeader):
    """The field `X-API-Key: TOKEN`."""

    param_name = "X-API-Key"

    def authenticate(self, request: HttpRequest, key: str | None) -> Caller | None:
        """Return the token's caller; None without the field."""
        return None if key is None else _caller(request, key)


class Bearer(HttpBearer):
    """The field `Authorization: Bearer TOKEN`."""

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        """Return the token's caller."""
        return _caller(request, token)


class Session(SessionAuth):
    """A person's session, with Django's CSRF check on what changes anything."""

    def __call__(self, request: HttpRequest) -> Caller | None:
        """Return the person; a stranger is asked to log in before any CSRF token is."""
        if not request.user.is_authenticated:
            return None
        super().__call__(request)
        return Caller.person(request.user)


#: In this order: a token that is given decides, even where there is a session too.
ANY_OF: Final = (ApiKey(), Bearer(), Session())


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


def _caller(request: HttpRequest, raw: str) -> Caller:
    """Return the caller that a raw token stands for.

    Raises AuthenticationError for one that opens nothing.
    """
    token = authenticate_token(raw.strip())
    if token is None:
        raise AuthenticationError(message="This token is unknown, expired or revoked.")
    request.user = token.user
    request.api_token = token  # type: ignore[attr-defined]
    return caller_for(token)
