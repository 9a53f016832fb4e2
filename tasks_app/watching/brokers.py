"""The broker of a watched application: its URL, which is encrypted in the row, and a Celery app that reaches it.

The app is nobody's default (`set_as_current=False`), reads no settings of anybody, and decodes only what cannot run code.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from celery import Celery
from kombu.connection import Connection

from tasks_app.models import Application
from tasks_app.watching.urls import is_redis, master_of
from zenith_site.common.encryption import DecryptionError, decrypt, encrypt

#: Serializers that cannot run code: pickle can.
SERIALIZERS: Final = ("json", "msgpack", "yaml")
#: Seconds for which a connection, or an answer of the broker, is waited for.
CONNECT_TIMEOUT: Final = 5.0
#: Seconds after which a queue of ours that nobody reads is removed by RabbitMQ.
QUEUE_EXPIRES: Final = 60.0


#: Seconds after which a connection of ours would give the messages of others back: whoever waits for answers on Redis looks for
#: such messages, and goes by its own setting, not by that of the application, whose tasks would run twice.
NEVER: Final = 100 * 365 * 86_400


class BrokerUnknownError(Exception):
    """An application's broker cannot be reached because its URL is not known."""


@dataclass(frozen=True, slots=True, repr=False)
class Broker:
    """How to reach a broker. Its representation shows nothing: it has a password."""

    url: str
    key_prefix: str = ""
    serializers: tuple[str, ...] = ("json",)

    def __repr__(self) -> str:
        return "Broker(…)"


def sealed(name: str, url: str) -> str:
    """Return a broker's URL encrypted for the application of this name."""
    return encrypt(url, purpose_of(name))


def broker_of(application: Application) -> Broker:
    """Return the broker of a watched application. Raises BrokerUnknownError, whose text says what to do."""
    if not application.broker:
        raise BrokerUnknownError(
            f"{application.name} is not watched any more: `manage.py watch {application.name}` watches it again."
        )
    try:
        url = decrypt(application.broker, purpose_of(application.name))
    except DecryptionError:
        raise BrokerUnknownError(
            "the broker's URL cannot be read with this process's ZENITH_SECRET_KEY. If that of the engines has changed, enter the"
            f" URL again: on the application's page, or with `manage.py watch {application.name}`."
        ) from None
    return Broker(url, application.key_prefix, serializers_of(application))


def serializers_of(application: Application) -> tuple[str, ...]:
    """Return what an application's workers write and accept; Zenith writes the first."""
    return readable(application.serializers)


def readable(serializers: str) -> tuple[str, ...]:
    """Return those of some serializers, separated by commas, that Zenith reads; JSON if there is none."""
    return tuple(name for name in serializers.split(",") if name in SERIALIZERS) or ("json",)


def celery_of(broker: Broker) -> Celery:
    """Return a Celery app for a broker, which is not connected yet."""
    url, master = master_of(broker.url)
    app = Celery("zenith-observer", broker=url, backend="disabled://", set_as_current=False, fixups=[], autofinalize=False)
    app.conf.update(
        task_serializer=broker.serializers[0], event_serializer=broker.serializers[0], accept_content=list(broker.serializers),
        broker_transport_options=_transport_options(broker, master), broker_connection_timeout=CONNECT_TIMEOUT,
        broker_connection_retry_on_startup=False, broker_heartbeat=30,
        event_queue_expires=QUEUE_EXPIRES,
        broker_use_ssl=_tls(url), enable_utc=True, timezone="UTC", imports=(), include=(), control_queue_expires=QUEUE_EXPIRES,
    )  # fmt: skip
    app.finalize()
    # Whatever is sent goes over the connection that is given. kombu's pools belong to the whole process, by URL: a connection
    # that was lost would come back from them, and closing one closes it for everybody.
    app.control.mailbox.producer_pool = None
    return app


@contextmanager
def opened(app: Celery) -> Iterator[Connection]:
    """Yield a connection of the caller's own, which is tried twice, at once. Raises what kombu raises."""
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        yield connection


def _tls(url: str) -> dict[str, Any] | None:
    """Return how certificates are checked: always, unless the URL says something else (`?ssl_cert_reqs=none`)."""
    parts = urlsplit(url.split(";")[0])
    if any(name.startswith("ssl_") for name in parse_qs(parts.query)):
        return None
    if parts.scheme == "rediss":
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": parts.hostname} if parts.scheme == "amqps" else None


def _transport_options(broker: Broker, master: str) -> dict[str, Any]:
    if not is_redis(broker.url):
        return {"confirm_publish": False, "max_retries": 1, "connect_timeout": CONNECT_TIMEOUT}
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_TIMEOUT, "socket_timeout": 2 * CONNECT_TIMEOUT, "socket_keepalive": True,
        "retry_on_timeout": False, "max_retries": 1, "client_name": "zenith-observer", "visibility_timeout": NEVER,
    }  # fmt: skip
    if broker.key_prefix:
        options["global_keyprefix"] = broker.key_prefix
    if master:
        options |= {MASTER_OPTION: master, "sentinel_kwargs": {"socket_timeout": CONNECT_TIMEOUT}}
    return options


#: kombu's name for it.
MASTER_OPTION: Final = "master_name"


def purpose_of(name: str) -> str:
    """Return what a URL in the row of the application with this name is encrypted for."""
    return f"the broker of the application {name}"
