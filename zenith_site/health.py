"""`GET /health`: whether PostgreSQL and Redis answer, and how many workers are online. `GET /ready`: whether requests may come.

Open to everybody, so they tell no more than that, and ask at most once a second whoever asks them. Only `/ready` knows of
migrations: nothing is won by restarting a process whose database is not migrated yet, but it should get no requests.
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
#: Seconds for which an answer is given again.
KEPT: Final = 1.0
#: Of what Django hands to psycopg, this is for its own classes, not for the server.
_NOT_FOR_LIBPQ: Final = frozenset({"context", "cursor_factory", "prepare_threshold"})

router = Router(tags=["health"])


class Health(BaseModel):
    """How Zenith is."""

    status: Literal["active", "degraded"] = Field(description="`degraded` when PostgreSQL or Redis does not answer.")
    redis_connected: bool
    database_connected: bool
    workers: int = Field(description="How many are online.")
    version: str = VERSION


class Readiness(BaseModel):
    """Whether this process can answer requests."""

    status: Literal["ready", "not ready"]
    redis_connected: bool
    database_connected: bool
    migrations_applied: bool = Field(description="Whether the database has every table and column that this version needs.")
    version: str = VERSION


class _Memory:
    """The newest answer of this process, and when it was found; and whether all migrations were ever seen applied."""

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
    """Ask PostgreSQL and Redis; 503 where one of them is away."""
    found = await _newest()
    return Status(HTTPStatus.OK if found.status == "active" else HTTPStatus.SERVICE_UNAVAILABLE, found)


@router.get(
    "/ready",
    auth=None,
    response={HTTPStatus.OK: Readiness, HTTPStatus.SERVICE_UNAVAILABLE: Readiness},
    summary="May requests come?",
    operation_id="ready",
)
async def ready(request: HttpRequest) -> Status[Readiness]:
    """Ask PostgreSQL, Redis, and whether all migrations are applied; 503 unless all is well."""
    found = await _newest()
    if found.database_connected and not _Memory.migrated:
        _Memory.migrated = bool(await _within_patience("PostgreSQL", sync_to_async(_is_migrated, thread_sensitive=False)()))
    may_come = found.status == "active" and _Memory.migrated
    answer = Readiness(
        status="ready" if may_come else "not ready",
        redis_connected=found.redis_connected,
        database_connected=found.database_connected,
        migrations_applied=_Memory.migrated,
    )
    return Status(HTTPStatus.OK if may_come else HTTPStatus.SERVICE_UNAVAILABLE, answer)


async def _newest() -> Health:
    if _Memory.answer is None or time.monotonic() - _Memory.at > KEPT:
        _Memory.answer = await check()
        _Memory.at = time.monotonic()
    return _Memory.answer


async def check() -> Health:
    """Ask both servers at the same time; takes no longer than PATIENCE."""
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
    """Return the answer, or None where it fails or takes too long."""
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
        # A thread of its own may never be asked again, and would keep its connection.
        connection.close()


async def _ask_database() -> int:
    """Ask over a connection of its own: a pool that is used up is not a database that is away."""
    connecting: Any = psycopg.AsyncConnection.connect(**_parameters(), autocommit=True)
    async with await connecting as own:
        await own.execute("SELECT 1")
    return 1


def _parameters() -> dict[str, Any]:
    given = connection.get_connection_params()
    return {name: value for name, value in given.items() if name not in _NOT_FOR_LIBPQ}
