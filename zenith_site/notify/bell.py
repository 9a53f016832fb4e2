"""The bell in every page's header."""

from typing import Any, cast

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from zenith_site.notify import inbox


def bell(request: HttpRequest) -> dict[str, Any]:
    """Return what the bell says to whoever asks; costs its one query where a template draws it, and else nothing."""

    def read() -> inbox.Bell:
        user = getattr(request, "user", None)
        return inbox.bell(cast(User, user)) if user is not None and user.is_authenticated else inbox.Bell(0, [])

    return {"bell": SimpleLazyObject(read)}
