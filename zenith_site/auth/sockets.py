"""Authenticates a WebSocket: by a token in a header, else by the session of a page of this site.

Browsers let any page open a socket to any server and send that server's cookies along, so a session counts only if the Origin is
this site's own (or one of CSRF_TRUSTED_ORIGINS). Programs send a token and no cookie: for them the Origin does not matter.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

from channels.auth import AuthMiddlewareStack
from channels.db import database_sync_to_async
from channels.security.websocket import OriginValidator
from django.conf import settings
from django.http.request import validate_host

from zenith_site.auth.address import address_of
from zenith_site.auth.audit import record_closed_socket
from zenith_site.auth.tokens import caller_for, find_token
from zenith_site.auth.watch import Credential, watch
from zenith_site.common.callers import Caller
from zenith_site.models import ApiToken

Scoped = MutableMapping[str, Any]
Application = Callable[[Scoped, Any, Any], Awaitable[None]]


NOT_AUTHENTICATED: Final = 4401
#: Close codes of refused sockets, each with the reason if no better one is known.
REFUSED: Final = {
    NOT_AUTHENTICATED: "Neither a token nor a session was sent.",
    4403: "The caller may not view this.",
    4429: "Too many sockets are open.",
}
_NO_TOKEN: Final = "No token was sent, and a session counts only on a page of this site."  # noqa: S105 -- a sentence


class SocketAuth:
    """Sets `scope["caller"]`, None if nobody is authenticated, and `scope["access_ended"]`.

    The latter is an async function that returns once the caller loses access. The consumer closes unauthenticated sockets with
    4401: a close code can be sent only after accepting.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self.with_session = AuthMiddlewareStack(self._for_a_person)

    async def __call__(self, scope: Scoped, receive: Any, send: Any) -> None:
        """Pass the connection on with its caller."""
        headers = {name.decode("latin1"): value.decode("latin1") for name, value in scope["headers"]}
        raw = _raw_token(headers)
        if raw is None and is_own_origin(headers):
            await self.with_session(scope, receive, send)
            return
        token, why = await database_sync_to_async(find_token)(raw) if raw is not None else (None, _NO_TOKEN)
        caller = caller_for(token) if token and not why else None
        credential = Credential("token", str(token.pk), caller.applications) if token and caller else None
        await self._pass_on(scope, receive, send, caller, credential, token=token, why=why)

    async def _for_a_person(self, scope: Scoped, receive: Any, send: Any) -> None:
        user, key = scope["user"], scope["session"].session_key
        caller = Caller.person(user) if user.is_authenticated else None
        credential = Credential("session", key, caller.applications) if caller else None
        await self._pass_on(scope, receive, send, caller, credential)

    async def _pass_on(
        self, scope: Scoped, receive: Any, send: Any, caller: Caller | None, credential: Credential | None,
        token: ApiToken | None = None, why: str = "",
    ) -> None:  # fmt: skip
        async def access_ended() -> None:
            if credential is not None:
                await watch().until_invalid(credential)

        async def send_and_audit(message: dict[str, Any]) -> None:
            code = message.get("code")
            # A caller who was admitted and lost access later, such as by logging out, was not refused anything.
            access_lost = caller is not None and code == NOT_AUTHENTICATED
            if message["type"] == "websocket.close" and code in REFUSED and not access_lost:
                address = address_of((scope.get("client") or ("",))[0], _forwarded(scope))
                await database_sync_to_async(record_closed_socket)(inner_scope, address, token, code, why or REFUSED[code])
            await send(message)

        inner_scope = {**scope, "caller": caller, "access_ended": access_ended}
        await self.application(inner_scope, receive, send_and_audit)


def is_own_origin(headers: dict[str, str]) -> bool:
    """Whether the request comes from a page of this site, or of an origin that it trusts."""
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


def _forwarded(scope: Scoped) -> str:
    return ",".join(value.decode("latin1") for name, value in scope["headers"] if name == b"x-forwarded-for")


def _raw_token(headers: dict[str, str]) -> str | None:
    if "x-api-key" in headers:
        return headers["x-api-key"].strip()
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None
