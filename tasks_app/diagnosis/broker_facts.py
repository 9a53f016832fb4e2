"""The facts about brokers: Zenith's own Redis is asked; of other applications' their workers' settings tell a part."""

from collections.abc import Iterable
from dataclasses import replace

from tasks_app.diagnosis.facts import REDIS, BrokerFacts
from tasks_app.watching import redis_health
from tasks_app.watching.redis_health import RedisHealth
from zenith_worker.wire.client import client
from zenith_worker.wire.heartbeat import WorkerBeat


def told_broker(beats: Iterable[WorkerBeat]) -> BrokerFacts:
    """Return what the settings of the workers online say of their broker; the shortest timeout, if they differ."""
    told = [beat.settings for beat in beats if beat.online and beat.settings is not None]
    timeouts = [settings.visibility_timeout for settings in told if settings.visibility_timeout is not None]
    return BrokerFacts(
        kind=next((settings.broker for settings in told if settings.broker), None),
        visibility_timeout=min(timeouts, default=None),
        priority_steps=next((settings.priority_steps for settings in told if settings.priority_steps), None),
    )


def result_expires(beats: Iterable[WorkerBeat]) -> float | None:
    """Return the shortest time for which results are kept, as workers online are set; None if there are no results."""
    told = [beat.settings.result_expires for beat in beats if beat.online and beat.settings is not None]
    return min((expires for expires in told if expires is not None), default=None)


def asked_redis(told: BrokerFacts, health: RedisHealth | None) -> BrokerFacts:
    """Return what a Redis says of itself, besides what workers tell."""
    if health is None:
        return told
    return replace(
        told, kind=REDIS, eviction=health.eviction, memory_used=health.memory_used, memory_limit=health.memory_limit,
        persistent=health.persistent,
    )  # fmt: skip


def native_health() -> RedisHealth:
    """Return what Zenith's Redis says of itself. Raises redis.RedisError."""
    return redis_health.ask(client())
