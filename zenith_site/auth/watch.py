"""Shows out who may no longer stay: a token that was revoked or has expired, a session that has ended.

A socket was let in once, by its handshake. One task per web process asks every few seconds, for
all its sockets in at most four queries, whose tokens and sessions still open anything.
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

from zenith_site.models import ApiToken, Scope, load_makers

logger = logging.getLogger(__name__)

#: Seconds between two looks.
LOOK_EVERY: Final = 3.0


class Door(NamedTuple):
    """What somebody came in by: `token` and its id, or `session` and its key."""

    kind: str
    key: str


def still_open(doors: Collection[Door]) -> set[Door]:
    """Return those through which somebody may still look; at most three queries."""
    return _open_tokens({door for door in doors if door.kind == "token"}) | _open_sessions(
        {door for door in doors if door.kind == "session"}
    )


def _open_tokens(doors: set[Door]) -> set[Door]:
    if not doors:
        return set()
    now = timezone.now()
    tokens = list(ApiToken.objects.select_related("user").filter(pk__in=[int(door.key) for door in doors]))
    load_makers(tokens)
    return {Door("token", str(token.pk)) for token in tokens if token.is_valid(now) and Scope.READ in token.effective_scopes}


def _open_sessions(doors: set[Door]) -> set[Door]:
    if not doors:
        return set()
    sessions = Session.objects.filter(session_key__in=[door.key for door in doors], expire_date__gt=timezone.now())
    found = {session.session_key: session.get_decoded() for session in sessions}
    users = get_user_model().objects.in_bulk({data[SESSION_KEY] for data in found.values() if SESSION_KEY in data})
    by_name = {str(pk): user for pk, user in users.items() if user.is_active}
    return {
        Door("session", key)
        for key, data in found.items()
        if (user := by_name.get(data.get(SESSION_KEY, ""))) is not None
        # A changed password ends the sessions from before it.
        and constant_time_compare(data.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash())
    }


class Watch:
    """Looks after the open sockets of one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], Door] = {}
        self._looking: asyncio.Task[None] | None = None

    async def ended(self, door: Door) -> None:
        """Return once `door` opens nothing any more."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = door
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            await future
        finally:
            self._waiting.pop(future, None)

    async def _look(self) -> None:
        while self._waiting:
            await asyncio.sleep(LOOK_EVERY)
            asked = dict(self._waiting)
            try:
                remaining = await database_sync_to_async(still_open)(set(asked.values()))
            except DatabaseError as error:
                # Nothing can be read through the sockets either; they are looked at again when it is back.
                logger.warning("Whether sockets may stay is not known: %s", error)
                continue
            except Exception:
                # A bug here must not let everybody stay for ever.
                logger.exception("Whether sockets may stay cannot be found out; they are closed.")
                remaining = set()
            for future, door in asked.items():
                if door not in remaining and not future.done():
                    future.set_result(None)
                    self._waiting.pop(future, None)


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Watch] = WeakKeyDictionary()


def watch() -> Watch:
    """Return the watch of the running loop (in tests there are several)."""
    return _by_loop.setdefault(asyncio.get_running_loop(), Watch())
