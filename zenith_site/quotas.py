"""Rate limits at the API's edge: counts every read of a program and every refusal, and adds the quota to every response.

The operations themselves count triggers (tasks_app/api/quota.py), once the body is read.
"""

from contextlib import suppress
from http import HTTPStatus
from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin
from ninja.throttling import BaseThrottle

from zenith_site.common import limits
from zenith_site.common.callers import Caller
from zenith_site.common.errors import BrokerUnavailableError, ZenithError

_READING: Final = frozenset({"GET", "HEAD"})
#: The statuses of invalid requests.
_REFUSALS: Final = frozenset(
    {
        HTTPStatus.FORBIDDEN,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)


class EdgeLimit(BaseThrottle):
    """Counts the reads of authenticated callers, and stops callers whose other requests were refused too often.

    Operations that are open to everybody (`/health`) are not counted.
    """

    def allow_request(self, request: HttpRequest) -> bool:
        """Return whether the request may continue; if not, `request.refusal` is the error to answer with.

        django-ninja does not handle errors that are raised here.
        """
        caller = getattr(request, "auth", None)
        if not isinstance(caller, Caller):
            return True
        try:
            if request.method in _READING:
                request.quota = limits.count_read(caller)  # type: ignore[attr-defined]
            else:
                _require_refusals_left(caller)
        except ZenithError as error:
            request.refusal = error  # type: ignore[attr-defined]
            return False
        return True


class QuotaMiddleware(MiddlewareMixin):
    """Adds the headers of the quota that was counted for a request to its response, even if it failed."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Return the response, with `RateLimit` and `RateLimit-Policy` if something was counted; count a refusal now."""
        if response.status_code in _REFUSALS:
            _count_refusal(request)
        quota = getattr(request, "quota", None)
        if isinstance(quota, limits.Quota):
            for name, value in quota.headers().items():
                response.headers.setdefault(name, value)
        return response


def _require_refusals_left(caller: Caller) -> None:
    # If Redis is unreachable, the operation reports it: many work without Redis.
    with suppress(BrokerUnavailableError):
        limits.require_refusals_left(caller)


def _count_refusal(request: HttpRequest) -> None:
    caller = getattr(request, "auth", None)
    if isinstance(caller, Caller) and not hasattr(request, "quota"):
        with suppress(ZenithError):
            request.quota = limits.count_refusal(caller)  # type: ignore[attr-defined]
