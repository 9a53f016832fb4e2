"""Closes the sockets of callers who lost access: the token was revoked or expired, the session ended, or they are now limited to
other applications.

A socket is authenticated once, by its handshake. One task per web process checks every few seconds, for all its sockets in at
most four queries, which tokens and sessions are still valid.
"""

import asyncio
import logging
from collections.abc import Collection
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.models import Session
from django.db import DatabaseError
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from zenith_site.common.callers import applications_of
from zenith_site.models import ApiToken, Scope, load_makers

logger = logging.getLogger(__name__)

#: Seconds between two checks.
CHECK_EVERY: Final = 3.0


class Credential(NamedTuple):
    """What authenticated a socket: `token` and its id, or `session` and its key; and the applications that it let see."""

    kind: str
    key: str
    applications: frozenset[str] | None = None


def valid_credentials(credentials: Collection[Credential]) -> set[Credential]:
    """Return the credentials that may still read, and the same applications; at most three queries."""
    tokens = {credential.key for credential in credentials if credential.kind == "token"}
    sessions = {credential.key for credential in credentials if credential.kind == "session"}
    return _valid_tokens(tokens) | _valid_sessions(sessions)


def _valid_tokens(ids: set[str]) -> set[Credential]:
    if not ids:
        return set()
    now = timezone.now()
    tokens = list(ApiToken.objects.select_related("user__application_limit").filter(pk__in=map(int, ids)))
    load_makers(tokens)
    return {
        Credential("token", str(token.pk), token.effective_applications)
        for token in tokens
        if token.is_valid(now) and Scope.READ in token.effective_scopes
    }


def _valid_sessions(keys: set[str]) -> set[Credential]:
    if not keys:
        return set()
    sessions = Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    session_data = {session.session_key: session.get_decoded() for session in sessions}
    user_ids = {data[SESSION_KEY] for data in session_data.values() if SESSION_KEY in data}
    users = get_user_model().objects.select_related("application_limit").in_bulk(user_ids)
    by_name = {str(pk): user for pk, user in users.items() if user.is_active}
    return {
        Credential("session", key, applications_of(user))
        for key, data in session_data.items()
        if (user := by_name.get(data.get(SESSION_KEY, ""))) is not None
        # A new password ends the sessions from before.
        and constant_time_compare(data.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash())
    }


class Watch:
    """Watches the credentials of the open sockets of one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], Credential] = {}
        self._checking: asyncio.Task[None] | None = None

    async def until_invalid(self, credential: Credential) -> None:
        """Return once `credential` is no longer valid."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = credential
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check())
        try:
            await future
        finally:
            self._waiting.pop(future, None)

    async def _check(self) -> None:
        while self._waiting:
            await asyncio.sleep(CHECK_EVERY)
            waiting = dict(self._waiting)
            try:
                remaining = await database_sync_to_async(valid_credentials)(set(waiting.values()))
            except DatabaseError as error:
                # Nothing can be read through the sockets either. They are checked again when the database is back.
                logger.warning("Cannot check whether open sockets still have access: %s", error)
                continue
            except Exception:
                # A bug here must not leave every socket open for ever.
                logger.exception("Cannot check whether open sockets still have access; closing them.")
                remaining = set()
            for future, credential in waiting.items():
                if credential not in remaining and not future.done():
                    future.set_result(None)
                    self._waiting.pop(future, None)


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Watch] = WeakKeyDictionary()


def watch() -> Watch:
    """Return the watch of the running event loop (tests have several)."""
    return _by_loop.setdefault(asyncio.get_running_loop(), Watch())
