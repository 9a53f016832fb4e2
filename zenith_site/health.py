"""`GET /health`: whether PostgreSQL and Redis answer, and how many workers are online. `GET /ready`: whether to send requests.

Both are open to everybody, so they reveal no more than that, and query the servers at most once a second. Only `/ready` checks
migrations: restarting a process does not help if its database is not migrated yet, but it should get no requests.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, Final, Literal

import psycopg
from asgiref.sync import sync_to_async
from django.db import connection
from django.http import HttpRequest
from ninja import Router, Status
from pydantic import BaseModel, Field

from zenith_site import schema
from zenith_site.version import VERSION
from zenith_worker.wire import heartbeat

logger = logging.getLogger(__name__)

#: Seconds that each server has to answer.
PATIENCE: Final = 1.5
#: Seconds for which an answer is cached.
KEPT: Final = 1.0
#: Django's connection parameters that are for its own classes, not for the server.
_NOT_FOR_LIBPQ: Final = frozenset({"context", "cursor_factory", "prepare_threshold"})

router = Router(tags=["health"])


class Health(BaseModel):
    """The health of Zenith."""

    status: Literal["active", "degraded"] = Field(description="`degraded` if PostgreSQL or Redis does not answer.")
    redis_connected: bool
    database_connected: bool
    workers: int = Field(description="The number of online workers.")
    version: str = VERSION


class Readiness(BaseModel):
    """Whether this process can answer requests."""

    status: Literal["ready", "not ready"]
    redis_connected: bool
    database_connected: bool
    migrations_applied: bool = Field(description="Whether the database has every table and column that this version needs.")
    version: str = VERSION


class _Memory:
    """The cached answer of this process and its time, and whether all migrations were applied at some time."""

    answer: Health | None = None
    at: float = 0.0
    migrated: bool = False


@router.get(
    "/health",
    auth=None,
    response={HTTPStatus.OK: Health, HTTPStatus.SERVICE_UNAVAILABLE: Health},
    summary="Is Zenith up?",
    operation_id="health",
)
async def health(request: HttpRequest) -> Status[Health]:
    """Check PostgreSQL and Redis; 503 if one of them does not answer."""
    answer = await _newest()
    return Status(HTTPStatus.OK if answer.status == "active" else HTTPStatus.SERVICE_UNAVAILABLE, answer)


@router.get(
    "/ready",
    auth=None,
    response={HTTPStatus.OK: Readiness, HTTPStatus.SERVICE_UNAVAILABLE: Readiness},
    summary="Is Zenith ready for requests?",
    operation_id="ready",
)
async def ready(request: HttpRequest) -> Status[Readiness]:
    """Check PostgreSQL, Redis, and that all migrations are applied; 503 if one of these fails."""
    newest = await _newest()
    if newest.database_connected and not _Memory.migrated:
        _Memory.migrated = bool(await _within_patience("PostgreSQL", sync_to_async(_is_migrated, thread_sensitive=False)()))
    is_ready = newest.status == "active" and _Memory.migrated
    answer = Readiness(
        status="ready" if is_ready else "not ready",
        redis_connected=newest.redis_connected,
        database_connected=newest.database_connected,
        migrations_applied=_Memory.migrated,
    )
    return Status(HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE, answer)


async def _newest() -> Health:
    if _Memory.answer is None or time.monotonic() - _Memory.at > KEPT:
        _Memory.answer = await check()
        _Memory.at = time.monotonic()
    return _Memory.answer


async def check() -> Health:
    """Check both servers at the same time, for PATIENCE seconds at most."""
    workers, database = await asyncio.gather(
        _within_patience("Redis", sync_to_async(_online_workers, thread_sensitive=False)()),
        _within_patience("PostgreSQL", _ask_database()),
    )
    return Health(
        status="degraded" if workers is None or database is None else "active",
        redis_connected=workers is not None,
        database_connected=database is not None,
        workers=workers or 0,
    )


async def _within_patience(name: str, answer: Awaitable[int]) -> int | None:
    """Return the answer, or None if it fails or takes too long."""
    try:
        return await asyncio.wait_for(answer, PATIENCE)
    except Exception as error:  # whatever it is, the server did not answer
        logger.warning("%s does not answer: %s", name, str(error) or type(error).__name__)
        return None


def _online_workers() -> int:
    return sum(worker.online for worker in heartbeat.read_all())


def _is_migrated() -> int:
    try:
        return not schema.unapplied()
    finally:
        # This thread may never run again, and would keep its connection open.
        connection.close()


async def _ask_database() -> int:
    """Query over a new connection: an exhausted pool does not mean that the database is unreachable."""
    connecting: Any = psycopg.AsyncConnection.connect(**_parameters(), autocommit=True)
    async with await connecting as own_connection:
        await own_connection.execute("SELECT 1")
    return 1


def _parameters() -> dict[str, Any]:
    parameters = connection.get_connection_params()
    return {name: value for name, value in parameters.items() if name not in _NOT_FOR_LIBPQ}
