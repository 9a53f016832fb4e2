"""Who opened a WebSocket: a token in a header, else the session of a page of this site.

Browsers let any page open a socket to any server and send that server's cookies along, so a
session counts only where the Origin is this site's own (or one of CSRF_TRUSTED_ORIGINS). Programs
send a token and no cookie: for them the Origin says nothing.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from channels.auth import AuthMiddlewareStack
from channels.db import database_sync_to_async
from channels.security.websocket import OriginValidator
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http.request import validate_host

from zenith_site.auth.tokens import authenticate_token
from zenith_site.models import ApiToken, Scope

Scoped = MutableMapping[str, Any]
Application = Callable[[Scoped, Any, Any], Awaitable[None]]


class SocketAuth:
    """Sets `scope["user"]` and `scope["token"]`; a stranger becomes an AnonymousUser.

    The consumer closes a stranger's socket with 4401: only after accepting can a code be sent.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self.with_session = AuthMiddlewareStack(application)

    async def __call__(self, scope: Scoped, receive: Any, send: Any) -> None:
        """Pass the connection on with its user."""
        headers = {name.decode("latin1"): value.decode("latin1") for name, value in scope["headers"]}
        scope = {**scope, "token": None}
        raw = _raw_token(headers)
        if raw is None and is_own_origin(headers):
            await self.with_session(scope, receive, send)
            return
        token = await database_sync_to_async(_reading_token)(raw) if raw is not None else None
        scope["token"] = token
        scope["user"] = token.user if token else AnonymousUser()
        await self.application(scope, receive, send)


def is_own_origin(headers: dict[str, str]) -> bool:
    """Whether a page of this site (or of an origin that it trusts) asks."""
    origin = headers.get("origin", "")
    try:
        parts = urlsplit(origin)
        trusted = [item.replace("://*.", "://.") for item in settings.CSRF_TRUSTED_ORIGINS]
        if OriginValidator(None, trusted).valid_origin(parts):
            return True
        hostname = parts.hostname or ""
    except ValueError:
        return False
    if settings.SESSION_COOKIE_SECURE and parts.scheme != "https":
        return False
    host = f"[{hostname}]" if ":" in hostname else hostname
    same = bool(parts.netloc) and parts.netloc.lower() == headers.get("host", "").lower()
    return same and validate_host(host, settings.ALLOWED_HOSTS)


def _raw_token(headers: dict[str, str]) -> str | None:
    if "x-api-key" in headers:
        return headers["x-api-key"].strip()
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def _reading_token(raw: str) -> ApiToken | None:
    token = authenticate_token(raw)
    return token if token and Scope.READ in token.scopes else None
