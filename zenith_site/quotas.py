"""Rate limits at the API's edge: every read of a program is counted here, and every answer says what is left.

Triggers are counted by the operations themselves (tasks_app/api/quota.py), once the body is read.
"""

from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin
from ninja.throttling import BaseThrottle

from zenith_site.common import limits
from zenith_site.common.callers import Caller
from zenith_site.common.errors import ZenithError

_READING: Final = frozenset({"GET", "HEAD"})


class ReadLimit(BaseThrottle):
    """Counts the reads of whoever the API has authenticated; what is open to all (`/health`) is not counted."""

    def allow_request(self, request: HttpRequest) -> bool:
        """Return whether the request may go on; if not, `request.refusal` is the error to answer with.

        django-ninja hands errors raised in here to nobody.
        """
        caller = getattr(request, "auth", None)
        if not isinstance(caller, Caller) or request.method not in _READING:
            return True
        try:
            request.quota = limits.count_read(caller)  # type: ignore[attr-defined]
        except ZenithError as error:
            request.refusal = error  # type: ignore[attr-defined]
            return False
        return True


class QuotaMiddleware(MiddlewareMixin):
    """Adds the header fields of the quota that was counted for a request to its answer, also to one that failed."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Return the response, with `RateLimit` and `RateLimit-Policy` where something was counted."""
        quota = getattr(request, "quota", None)
        if isinstance(quota, limits.Quota):
            for name, value in quota.headers().items():
                response.headers.setdefault(name, value)
        return response
