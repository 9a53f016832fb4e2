"""Why a broker cannot be used, in words that show neither its URL nor what it answered."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Final

import amqp.exceptions
import redis
import redis.sentinel
from kombu.exceptions import ContentDisallowed

_REFUSED: Final = "nothing listens at its host and port"
_SILENT: Final = "it does not answer in time"
_UNTRUSTED: Final = "its certificate is not trusted, or it does not speak TLS there"
_LOGIN: Final = "it refuses the user or the password"
RIGHTS: Final = "its user may not do what Celery's event receiver and remote control need"
_GONE: Final = "the connection was lost"

#: By type, the more special ones first.
_BY_TYPE: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (redis.exceptions.NoPermissionError, RIGHTS),
    (redis.AuthenticationError, _LOGIN),
    (redis.sentinel.MasterNotFoundError, "Sentinel knows no master of this name, or none of them is reachable"),
    (amqp.exceptions.NotAllowed, "its virtual host does not exist, or the user may not use it"),
    (amqp.exceptions.ResourceLocked, "another program has locked a queue of the same name"),
    (ContentDisallowed, "it carries messages in a serializer that is not accepted: name it among its serializers"),
    (ssl.SSLError, _UNTRUSTED),
    (socket.gaierror, "its host's name is unknown"),
    (ConnectionRefusedError, _REFUSED),
    (FileNotFoundError, "its socket does not exist"),
    (PermissionError, "its socket may not be opened"),
    (TimeoutError, _SILENT),
    (redis.TimeoutError, _SILENT),
    (ConnectionResetError, _GONE),
    (BrokenPipeError, _GONE),
)
#: By a part of the text, in lower case.
_BY_TEXT: Final = (
    ("noauth", "it asks for a password"),
    ("wrongpass", _LOGIN),
    ("invalid password", _LOGIN),
    ("invalid username", _LOGIN),
    ("login was refused", _LOGIN),
    # RabbitMQ's word for a queue or an exchange as well.
    ("access_refused", RIGHTS),
    ("noperm", RIGHTS),
    ("not_allowed", "its virtual host does not exist, or the user may not use it"),
    ("db index is out of range", "it has no database of this number"),
    ("invalid db", "it has no database of this number"),
    ("certificate", _UNTRUSTED),
    ("ssl", _UNTRUSTED),
    ("name or service not known", "its host's name is unknown"),
    ("connection refused", _REFUSED),
    ("timed out", _SILENT),
    ("timeout", _SILENT),
    ("loading the dataset", "it is still loading its data"),
    ("closed", _GONE),
    # redis-py's, if it has lost the connection of a subscription before.
    ("pubsub connection not set", _GONE),
    ("reset by peer", _GONE),
)


def reason_of(error: BaseException) -> str:
    """Return why a broker cannot be used: by the type of an error, of what caused it, and by known words in them."""
    errors = list(_causes(error))
    return _first(errors, _type_reason) or _first(errors, _text_reason) or f"it cannot be used ({type(errors[-1]).__name__})"


def _first(errors: list[BaseException], reason: Callable[[BaseException], str]) -> str:
    return next((found for error in reversed(errors) if (found := reason(error))), "")


def _type_reason(error: BaseException) -> str:
    return next((reason for type_, reason in _BY_TYPE if isinstance(error, type_)), "")


def _text_reason(error: BaseException) -> str:
    text = str(error).lower()
    return next((reason for part, reason in _BY_TEXT if part in text), "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < 20:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
