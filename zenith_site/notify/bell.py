"""The bell in every page's header."""

from typing import Any, cast

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from zenith_site.common.callers import applications_of
from zenith_site.notify import inbox


def bell(request: HttpRequest) -> dict[str, Any]:
    """Return the bell for the request's user; its one query runs only if a template uses it.

    Notifications are of all applications, so whoever is limited to some gets no bell.
    """
    if applications_of(getattr(request, "user", None) or AnonymousUser()) is not None:
        return {"bell": None}

    def read() -> inbox.Bell:
        user = getattr(request, "user", None)
        return inbox.bell(cast(User, user)) if user is not None and user.is_authenticated else inbox.Bell(0, [])

    return {"bell": SimpleLazyObject(read)}
