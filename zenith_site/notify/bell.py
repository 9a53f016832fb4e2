"""The bell in every page's header."""

from typing import Any, cast

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from zenith_site.notify import inbox


def bell(request: HttpRequest) -> dict[str, Any]:
    """Return the bell for the request's user; its one query runs only if a template uses it."""

    def read() -> inbox.Bell:
        user = getattr(request, "user", None)
        return inbox.bell(cast(User, user)) if user is not None and user.is_authenticated else inbox.Bell(0, [])

    return {"bell": SimpleLazyObject(read)}
