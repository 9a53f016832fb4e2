"""PostgreSQL, Redis, what they were told to do, and everybody's clock."""

import time
from collections.abc import Iterator
from typing import Any, Final

from django.conf import settings
from django.db import OperationalError, connection

from zenith_site import schema
from zenith_site.common.sessions import REMEDY, has_own_session
from zenith_site.doctor.registry import POSTGRESQL, REDIS, Finding, check, error, warning
from zenith_site.embedded.redis import MENDED, PACKAGED, is_packaged
from zenith_site.env import without_password
from zenith_worker.wire import heartbeat
from zenith_worker.wire.client import client

#: The oldest that work: Django 5.2's, and the first Redis with XAUTOCLAIM.
OLDEST_POSTGRESQL: Final = 140_000
OLDEST_REDIS: Final = (6, 2)
#: Shares of connections and of memory in use from which there is a warning.
FULL: Final = 0.8
#: Seconds that two clocks may differ before a warning, and before an error.
SKEW: Final = 2.0
SKEW_BAD: Final = 30.0


@check(POSTGRESQL)
def postgresql() -> Iterator[Finding]:
    """It answers, and is new enough."""
    place = "{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    try:
        connection.ensure_connection()
    except OperationalError as failed:
        yield error(
            f"PostgreSQL at {place} does not answer: {' '.join(str(failed).split())}",
            "start it, or correct DATABASE_URL; where it is not set, `manage.py up` starts one",
        )
        return
    version = _setting("server_version_num")
    if int(version) < OLDEST_POSTGRESQL:
        yield error(f"PostgreSQL is version {_setting('server_version')}", "upgrade it to 14 or newer")


@check(REDIS)
def redis_answers() -> Iterator[Finding]:
    """It answers, and is new enough."""
    import redis

    try:
        found: Any = client().info("server")
    except redis.RedisError as failed:
        yield error(
            f"Redis at {without_password(settings.ZENITH_REDIS_URL)} does not answer: {' '.join(str(failed).split())}",
            "start it, or correct REDIS_URL; where it is not set, `manage.py up` starts one",
        )
        return
    version = str(found["redis_version"])
    if tuple(map(int, version.split(".")[:2])) < OLDEST_REDIS:
        yield error(f"Redis is version {version}", "upgrade it to 6.2 or newer")


@check("Redis' package", REDIS)
def packaged_redis() -> Iterator[Finding]:
    """Redis is not the old one of a Python package, which is there so that `manage.py up` works everywhere."""
    found: Any = client().info("server")
    # A server of somebody else's may not say what it is.
    if settings.ZENITH_EMBEDDED_REDIS and is_packaged(str(found.get("executable", ""))):
        yield warning(PACKAGED.format(found["redis_version"]), MENDED)


@check("migrations", POSTGRESQL)
def migrations() -> Iterator[Finding]:
    """The database has every table and column that this version needs."""
    missing = schema.unapplied()
    if missing:
        yield error(f"{len(missing)} migrations are not applied, the first of them {missing[0]}", "manage.py migrate")


@check("PostgreSQL's sessions", POSTGRESQL)
def sessions() -> Iterator[Finding]:
    """No pooler in transaction mode stands before it."""
    if not has_own_session():
        yield error("PgBouncer or another pooler shares PostgreSQL's sessions, so engines and agents do not start work", REMEDY)


@check("PostgreSQL's settings", POSTGRESQL)
def postgresql_settings() -> Iterator[Finding]:
    """What is committed stays, and there is room for connections."""
    for name, risk in (("fsync", "a crash of the machine can destroy the database"), ("autovacuum", "tables grow for ever")):
        if _setting(name) != "on":
            yield error(f"PostgreSQL runs with {name} = off: {risk}", f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();")
    if _setting("synchronous_commit") == "off":
        yield warning(
            "PostgreSQL runs with synchronous_commit = off: a crash can lose tasks that a caller was told are accepted",
            "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();",
        )
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
        used, most = int(cursor.fetchone()[0]), int(_setting("max_connections"))
    if used > FULL * most:
        yield warning(
            f"{used} of {most} connections to PostgreSQL are in use",
            f"ALTER SYSTEM SET max_connections = {2 * most}; and restart it, or put PgBouncer with pool_mode = session in front",
        )


@check("PostgreSQL's role", POSTGRESQL)
def postgresql_role() -> Iterator[Finding]:
    """Zenith is no superuser there: one runs programs on PostgreSQL's machine."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user")
        name, is_superuser = cursor.fetchone()
    if is_superuser:
        yield warning(
            f"The role {name} of DATABASE_URL is a superuser: whoever has the address can run programs on its machine",
            f"ALTER ROLE {connection.ops.quote_name(name)} NOSUPERUSER; as another superuser, or a role that only owns its data",
        )


@check("Redis' eviction policy", REDIS)
def eviction() -> Iterator[Finding]:
    """Nothing is thrown away to make room, and there is room."""
    memory: Any = client().info("memory")
    policy = memory["maxmemory_policy"]
    if policy != "noeviction":
        yield error(
            f"Redis may throw away messages and events when it is full: maxmemory-policy is {policy}",
            "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
        )
    if memory["maxmemory"] and memory["used_memory"] > FULL * memory["maxmemory"]:
        share = 100 * memory["used_memory"] / memory["maxmemory"]
        yield warning(
            f"Redis uses {share:.0f} % of its maxmemory; once it is full, dispatches are refused",
            f"redis-cli CONFIG SET maxmemory {2 * memory['maxmemory']}, and look why the queues are long: manage.py doctor",
        )


@check("Redis' persistence", REDIS)
def persistence() -> Iterator[Finding]:
    """Messages and events outlive a restart of Redis."""
    found: Any = client().info("persistence")
    if not found.get("aof_enabled"):
        yield warning(
            "Redis keeps no append-only file: a restart loses reports that are not recorded yet, and finished tasks run again",
            "redis-cli CONFIG SET appendonly yes, and the same in redis.conf",
        )
    elif found.get("aof_last_write_status") != "ok":
        yield error("Redis cannot write its append-only file", "make room on its disk; its log says why")


@check("clocks of the servers", POSTGRESQL, REDIS)
def server_clocks() -> Iterator[Finding]:
    """This machine, PostgreSQL and Redis agree what time it is."""
    for name, ask in (("PostgreSQL", _postgresql_time), ("Redis", redis_time)):
        before = time.time()
        theirs = ask()
        # Halfway there and back; the answer is as exact as the way is short.
        yield from skew_of(f"The clock of {name}", theirs - (before + time.time()) / 2, "this machine's")


@check("clocks of the workers", REDIS)
def worker_clocks() -> Iterator[Finding]:
    """Each worker's clock agrees with Redis'."""
    beats = heartbeat.read_all()
    now = redis_time()
    for beat in beats:
        if beat.online and beat.clock is not None:
            yield from skew_of(f"The clock of worker {beat.name}", beat.clock - (now - beat.heartbeat_age), "Redis'")


def skew_of(whose: str, seconds: float, other: str) -> Iterator[Finding]:
    """Yield what is to be said of a clock that is so many seconds ahead (or behind, where negative)."""
    if abs(seconds) <= SKEW:
        return
    direction = "ahead of" if seconds > 0 else "behind"
    finding = error if abs(seconds) > SKEW_BAD else warning
    yield finding(f"{whose} is {abs(seconds):.0f} s {direction} {other}", "keep it with NTP there: timedatectl set-ntp true")


def redis_time() -> float:
    """Return Redis' time in Unix seconds. Raises redis.RedisError."""
    seconds, micros = client().time()
    return float(seconds) + float(micros) / 1e6


def _postgresql_time() -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        return float(cursor.fetchone()[0])


def _setting(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s)", [name])
        return str(cursor.fetchone()[0])
