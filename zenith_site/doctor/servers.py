"""PostgreSQL and Redis, their settings, and all clocks."""

import time
from collections.abc import Iterator
from typing import Any, Final

from django.conf import settings
from django.db import OperationalError, connection

from zenith_site import schema
from zenith_site.common.sessions import REMEDY, has_own_session
from zenith_site.doctor.registry import POSTGRESQL, REDIS, Finding, check, error, warning
from zenith_site.embedded.redis import PACKAGED, REMEDY_FOR_PACKAGED, is_packaged
from zenith_site.env import without_password
from zenith_worker.wire import heartbeat
from zenith_worker.wire.client import client

#: The oldest supported versions: that of Django 5.2, and the first Redis with XAUTOCLAIM.
OLDEST_POSTGRESQL: Final = 140_000
OLDEST_REDIS: Final = (6, 2)
#: The share of connections or of memory in use above which there is a warning.
FULL: Final = 0.8
#: Seconds that two clocks may differ before a warning, and before an error.
SKEW: Final = 2.0
SKEW_BAD: Final = 30.0


@check(POSTGRESQL)
def postgresql() -> Iterator[Finding]:
    """The server answers, and is new enough."""
    place = "{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    try:
        connection.ensure_connection()
    except OperationalError as failed:
        yield error(
            f"PostgreSQL at {place} does not answer: {' '.join(str(failed).split())}",
            "start it, or correct DATABASE_URL; if that is not set, `manage.py up` starts PostgreSQL",
        )
        return
    version = _setting("server_version_num")
    if int(version) < OLDEST_POSTGRESQL:
        yield error(f"PostgreSQL is version {_setting('server_version')}", "upgrade it to 14 or newer")


@check(REDIS)
def redis_answers() -> Iterator[Finding]:
    """The server answers, and is new enough."""
    import redis

    try:
        info: Any = client().info("server")
    except redis.RedisError as failed:
        yield error(
            f"Redis at {without_password(settings.ZENITH_REDIS_URL)} does not answer: {' '.join(str(failed).split())}",
            "start it, or correct REDIS_URL; if that is not set, `manage.py up` starts Redis",
        )
        return
    version = str(info["redis_version"])
    if tuple(map(int, version.split(".")[:2])) < OLDEST_REDIS:
        yield error(f"Redis is version {version}", "upgrade it to 6.2 or newer")


@check("Redis' package", REDIS)
def packaged_redis() -> Iterator[Finding]:
    """Redis is not the old version in a Python package, which exists so that `manage.py up` works everywhere."""
    info: Any = client().info("server")
    # A hosted server may not name its executable.
    if settings.ZENITH_EMBEDDED_REDIS and is_packaged(str(info.get("executable", ""))):
        yield warning(PACKAGED.format(info["redis_version"]), REMEDY_FOR_PACKAGED)


@check("migrations", POSTGRESQL)
def migrations() -> Iterator[Finding]:
    """The database has every table and column that this version needs."""
    missing = schema.unapplied()
    if missing:
        yield error(f"{len(missing)} migrations are not applied, starting with {missing[0]}", "manage.py migrate")


@check("PostgreSQL's sessions", POSTGRESQL)
def sessions() -> Iterator[Finding]:
    """No pooler in transaction mode is in front of PostgreSQL."""
    if not has_own_session():
        yield error("PgBouncer or another pooler shares PostgreSQL's sessions, so engines and agents do not start work", REMEDY)


@check("PostgreSQL's settings", POSTGRESQL)
def postgresql_settings() -> Iterator[Finding]:
    """Committed data is durable, and there is room for connections."""
    for name, risk in (("fsync", "a crash of the machine can destroy the database"), ("autovacuum", "tables grow without limit")):
        if _setting(name) != "on":
            yield error(f"PostgreSQL runs with {name} = off: {risk}", f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();")
    if _setting("synchronous_commit") == "off":
        yield warning(
            "PostgreSQL runs with synchronous_commit = off: a crash can lose tasks that were already accepted",
            "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();",
        )
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
        used, most = int(cursor.fetchone()[0]), int(_setting("max_connections"))
    if used > FULL * most:
        yield warning(
            f"{used} of {most} connections to PostgreSQL are in use",
            f"ALTER SYSTEM SET max_connections = {2 * most}; and a restart, or PgBouncer with pool_mode = session in front of it",
        )


@check("PostgreSQL's role", POSTGRESQL)
def postgresql_role() -> Iterator[Finding]:
    """Zenith's role is not a superuser: a superuser can run programs on PostgreSQL's machine."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user")
        name, is_superuser = cursor.fetchone()
    if is_superuser:
        yield warning(
            f"The role {name} of DATABASE_URL is a superuser: anybody with this address can run programs on PostgreSQL's machine",
            f"ALTER ROLE {connection.ops.quote_name(name)} NOSUPERUSER; as another superuser, or a role that only owns its data",
        )


@check("Redis' eviction policy", REDIS)
def eviction() -> Iterator[Finding]:
    """Redis evicts nothing, and has free memory."""
    memory: Any = client().info("memory")
    policy = memory["maxmemory_policy"]
    if policy != "noeviction":
        yield error(
            f"Redis may evict messages and events when it is full: maxmemory-policy is {policy}",
            "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
        )
    if memory["maxmemory"] and memory["used_memory"] > FULL * memory["maxmemory"]:
        share = 100 * memory["used_memory"] / memory["maxmemory"]
        yield warning(
            f"Redis uses {share:.0f} % of its maxmemory; once it is full, dispatches are refused",
            f"redis-cli CONFIG SET maxmemory {2 * memory['maxmemory']}, and find out why the queues are long: manage.py doctor",
        )


@check("Redis' persistence", REDIS)
def persistence() -> Iterator[Finding]:
    """Messages and events survive a restart of Redis."""
    info: Any = client().info("persistence")
    if not info.get("aof_enabled"):
        yield warning(
            "Redis has no append-only file: a restart loses reports that are not recorded yet, and finished tasks run again",
            "redis-cli CONFIG SET appendonly yes, and the same in redis.conf",
        )
    elif info.get("aof_last_write_status") != "ok":
        yield error("Redis cannot write its append-only file", "free up space on its disk; its log says why")


@check("clocks of the servers", POSTGRESQL, REDIS)
def server_clocks() -> Iterator[Finding]:
    """The clocks of this machine, PostgreSQL and Redis agree."""
    for name, ask in (("PostgreSQL", _postgresql_time), ("Redis", redis_time)):
        before = time.time()
        theirs = ask()
        # The reading is taken to be from the middle of the round trip.
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
    """Yield a finding if a clock is too many seconds ahead (or behind, if negative)."""
    if abs(seconds) <= SKEW:
        return
    direction = "ahead of" if seconds > 0 else "behind"
    finding = error if abs(seconds) > SKEW_BAD else warning
    yield finding(f"{whose} is {abs(seconds):.0f} s {direction} {other}", "synchronize it with NTP: timedatectl set-ntp true")


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
