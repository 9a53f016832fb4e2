"""The messages that wait in a queue, as pages and the API show them: arguments masked and cut, times as times."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from tasks_app import catalog
from tasks_app.models import Application
from tasks_app.queries import queues
from tasks_app.queries.arguments import Arguments, masked_arguments
from tasks_app.queries.queues import MAX_PEEKED
from tasks_app.watching import representations
from tasks_app.watching.looks import NotSeenError, look
from tasks_app.watching.translation import moment_of
from zenith_site.common.jsonsafe import bounded
from zenith_site.common.previews import ELLIPSIS, ROW
from zenith_worker.wire.broker_message import JSON, BrokerMessage

#: Characters of each message's arguments that are shown.
ARGUMENTS_SHOWN: Final = 2_000


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """A message.

    Attributes:
        arguments: masked and cut, as far as they are known without running code; None if they are not.
        eta, expires_at: its own times; None if it has none, or one that cannot be read.
    """

    message: BrokerMessage
    arguments: Arguments | None
    eta: datetime | None
    expires_at: datetime | None

    @property
    def arguments_text(self) -> str:
        """The beginning of its arguments as a call has them."""
        if self.arguments is None:
            return ""
        given = [json.dumps(item, ensure_ascii=False) for item in self.arguments.args]
        named = [f"{name}={json.dumps(item, ensure_ascii=False)}" for name, item in self.arguments.kwargs.items()]
        text = ", ".join([*given, *named])
        # Secrets are masked already, so it can be cut anywhere.
        return text if len(text) <= ROW else text[:ROW] + ELLIPSIS

    @property
    def oddity(self) -> str:
        """What keeps its body from being read, if anything does."""
        kind = self.message.content_type
        if not kind:
            return "not a message of Celery"
        return "" if kind == JSON else f"its body is {kind}, which is not read"


def waiting_messages(application: Application, queue: str, limit: int) -> list[ShownMessage]:
    """Return the next messages of a queue, up to `limit` of each priority; none is taken.

    Raises redis.RedisError, and of another application NotSeenError, whose text says why its messages are not seen.
    """
    limit = min(limit, MAX_PEEKED)
    if application.is_native:
        return shown(queues.peek(queue, limit), application)
    if not application.is_watched:
        raise NotSeenError(f"Zenith does not see the broker of {application.name}, only what its workers tell.")
    return shown(look(application.name, queue, limit), application)


def shown(messages: Iterable[BrokerMessage], application: Application) -> list[ShownMessage]:
    """Return messages of an application as they are shown. Raises django.db.Error."""
    return [_shown(message, application.pk) for message in messages]


def _shown(message: BrokerMessage, application_id: int) -> ShownMessage:
    args, kwargs = bounded(representations.arguments(message.args)), bounded(representations.keywords(message.kwargs))
    entry = catalog.known_entry(message.task_name, application_id)
    names = [] if entry is None else entry.positional_names
    arguments = None
    if args is not None or kwargs is not None:
        arguments = masked_arguments(args or [], kwargs or {}, names, ARGUMENTS_SHOWN)
    return ShownMessage(message, arguments, _datetime(message.eta), _datetime(message.expires))


def _datetime(text: str) -> datetime | None:
    seconds = moment_of(text)
    return None if seconds is None else datetime.fromtimestamp(seconds, tz=UTC)
