"""The audit log: who did what, from where, when.

1. `AuditMiddleware` writes an entry after every successful request of a known caller that may change something (any method
   but GET, HEAD, OPTIONS and TRACE). No view can forget it; a view adds numbers and ids with `audit_details()`
   (zenith_site/common/callers.py). One that fails after it has contacted something outside is recorded too (`audit_attempt()`).
2. Refusals (401, 403, 429) are counted, and many of one kind are one entry (zenith_site/auth/refusals.py).
3. Logins, failed logins and logouts come from Django's signals.
4. Entries are pruned after ZENITH_AUDIT_DAYS.

An entry never holds a body, a header or anything typed into a password field.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import redis
from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model, signals
from django.db import DatabaseError, connection
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from zenith_site.auth import refusals, throttle
from zenith_site.auth.address import client_address
from zenith_site.common import retention
from zenith_site.common.callers import known_caller

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

    from zenith_site.models import ApiToken

logger = logging.getLogger(__name__)

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
#: The statuses that are refusals, each with the reason if the view gives none.
_REFUSED: Final = {
    HTTPStatus.UNAUTHORIZED: "No valid token was sent.",
    HTTPStatus.FORBIDDEN: "The session or token lacks the permission.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests.",
}
#: Entries looked at in one transaction of the pruning.
_CHUNK: Final = 1000
# Ids follow the time closely enough: the oldest entries have the lowest ids, so no index on the time is needed.
_PRUNE: Final = """
    DELETE FROM zenith_site_auditentry WHERE id = ANY(ARRAY(
        SELECT id FROM (SELECT id, at FROM zenith_site_auditentry ORDER BY id LIMIT %s) oldest
        WHERE at < now() - make_interval(days => %s)))
"""
_COUNT: Final = "SELECT count(*) FROM zenith_site_auditentry WHERE at < now() - make_interval(days => %s)"


def connect() -> None:
    """Connect to the signals of logins and logouts, and register the log for pruning."""
    signals.user_logged_in.connect(_logged_in, dispatch_uid="audit")
    signals.user_logged_out.connect(_logged_out, dispatch_uid="audit")
    signals.user_login_failed.connect(_login_failed, dispatch_uid="audit")
    retention.register("audit entries", "older than ZENITH_AUDIT_DAYS", prune, count)


class AuditMiddleware:
    """Writes an entry for each request that changed something. It comes right after the middleware that sets the user."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Return the response, or what an async server awaits."""
        if self.is_async:
            return self.__acall__(request)
        response: HttpResponseBase = self.get_response(request)
        if write_it := _what_to_write(request, response):
            write_it(request, response)
        return response

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the response of an async request; writing takes a thread."""
        response: HttpResponseBase = await self.get_response(request)
        if write_it := _what_to_write(request, response):
            await sync_to_async(write_it)(request, response)
        return response


def _what_to_write(request: HttpRequest, response: HttpResponseBase) -> Callable[[HttpRequest, HttpResponseBase], None] | None:
    if _refused_with(request, response) is not None:
        return record_refusal
    return record if _may_have_changed_something(request, response) else None


def _refused_with(request: HttpRequest, response: HttpResponseBase) -> int | None:
    """Return the status that the request was refused with, if it was."""
    if response.status_code in _REFUSED:
        return response.status_code
    _, meant = getattr(request, "refused", ("", None))
    return int(meant) if meant in _REFUSED else None


def _may_have_changed_something(request: HttpRequest, response: HttpResponseBase) -> bool:
    match = request.resolver_match
    if request.method in _SAFE or match is None:
        return False
    if response.status_code >= HTTPStatus.BAD_REQUEST:
        return hasattr(request, "audit_attempt")
    if match.app_names == ["admin"]:
        # An invalid form is answered with 200, a saved one with a redirect or with a page that closes the popup.
        return response.status_code == HTTPStatus.FOUND or "_popup" in request.POST
    # The signals record these.
    return match.url_name not in ("login", "logout")


def record(request: HttpRequest, response: HttpResponseBase) -> None:
    """Write the entry for an answered request; one query."""
    if not request.user.is_authenticated:
        return
    caller = known_caller(request)
    token = getattr(request, "api_token", None)
    write(
        f"{request.method} /{request.resolver_match.route}",  # type: ignore[union-attr]
        user=caller.user,
        token=str(token) if token else "",
        request=request,
        status=response.status_code,
        detail={**_of_the_admin(request), **getattr(request, "audit", {})},
    )


def record_refusal(request: HttpRequest, response: HttpResponseBase) -> None:
    """Count a refused request; many of one kind share an entry."""
    status = HTTPStatus(_refused_with(request, response) or response.status_code)
    why, _ = getattr(request, "refused", (_REFUSED[status], None))
    match = request.resolver_match
    token = getattr(request, "api_token", None) or getattr(request, "refused_token", None)
    user = token.user if token else request.user if request.user.is_authenticated else None
    address = client_address(request)
    refusals.record(
        refusals.Refusal(
            caller=_caller_key(token, user, address),
            action=f"{request.method} /{match.route if match else ''}",
            status=status,
            why=why,
            path=request.path,
            address=address,
            **_named(token, user),
        )
    )


def record_closed_socket(scope: Mapping[str, Any], address: str | None, token: "ApiToken | None", code: int, why: str) -> None:
    """Count a WebSocket that was closed because its caller may not open it."""
    caller = scope.get("caller")
    user = token.user if token else caller.user if caller else None
    refusals.record(
        refusals.Refusal(
            caller=_caller_key(token, user, address),
            action="WebSocket",
            status=code,
            why=why,
            path=scope["path"],
            address=address,
            **_named(token, user),
        )
    )


def _caller_key(token: "ApiToken | None", user: "User | AnonymousUser | None", address: str | None) -> str:
    if token is not None:
        return f"token:{token.pk}"
    return f"user:{user.pk}" if user is not None else f"from:{throttle.network(address)}"


def _named(token: "ApiToken | None", user: "User | AnonymousUser | None") -> dict[str, Any]:
    return {
        "user_id": user.pk if user else None,
        "username": user.get_username() if user else "",
        "token": str(token) if token else "",
    }


def write(
    action: str,
    *,
    user: "User | None" = None,
    token: str = "",
    request: HttpRequest | None = None,
    status: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Append an entry.

    The audited change has happened and cannot be undone. So if the database is unreachable by now, the entry goes to the
    process's log, and the response does not fail.
    """
    from zenith_site.models import AuditEntry

    entry = AuditEntry(
        user_id=user.pk if user else None,
        username=user.get_username() if user else "",
        token=token[:80],
        address=client_address(request),
        action=action[:200],
        path=request.path[:500].replace("\0", "") if request else "",
        status=status,
        detail=dict(detail or {}),
    )
    try:
        entry.save(force_insert=True)
    except DatabaseError as error:
        logger.error("Could not write to the audit log (%s): %s from %s, %s", error, entry, entry.address, entry.path)


def prune() -> int:
    """Remove entries older than ZENITH_AUDIT_DAYS, the oldest first; return how many."""
    with suppress(redis.RedisError):
        refusals.write_counts()
    removed = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute(_PRUNE, [_CHUNK, settings.ZENITH_AUDIT_DAYS])
            count = int(cursor.rowcount)
            removed += count
            if count < _CHUNK:
                return removed


def count() -> int:
    """Return how many entries are older than ZENITH_AUDIT_DAYS."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [settings.ZENITH_AUDIT_DAYS])
        return int(cursor.fetchone()[0])


def _of_the_admin(request: HttpRequest) -> dict[str, Any]:
    """Return the action and its number of rows, if the request ran one of the admin's actions."""
    if request.resolver_match is None or request.resolver_match.app_names != ["admin"] or "action" not in request.POST:
        return {}
    return {"action": request.POST["action"][:100], "chosen": len(request.POST.getlist("_selected_action"))}


def _logged_in(request: HttpRequest | None, user: "User", **_: Any) -> None:
    write("login", user=user, request=request)


def _logged_out(request: HttpRequest | None, user: "User | None", **_: Any) -> None:
    if user is not None:
        write("logout", user=user, request=request)


def _login_failed(credentials: Mapping[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """Record the account, but only if it exists: anything else typed there may be a password."""
    users = get_user_model()
    account = users.objects.filter(**{users.USERNAME_FIELD: credentials.get(users.USERNAME_FIELD, "")}).first()
    write("login failed", user=account, request=request)
