"""The facts about brokers: Zenith's own Redis is asked; of other applications' their workers' settings tell a part."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import redis

from tasks_app.diagnosis.facts import REDIS, BrokerFacts
from zenith_worker.wire.client import client
from zenith_worker.wire.heartbeat import WorkerBeat

#: The setting of Redis that says when it takes snapshots; empty for never.
_SAVE: Final = "save"


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


def native_broker(told: BrokerFacts) -> BrokerFacts:
    """Return what Zenith's Redis says of itself, besides what workers tell. Raises redis.RedisError."""
    memory: Any = client().info("memory")
    persistence: Any = client().info("persistence")
    return replace(
        told,
        kind=REDIS,
        eviction=memory.get("maxmemory_policy"),
        memory_used=memory.get("used_memory"),
        memory_limit=memory.get("maxmemory"),
        persistent=bool(persistence.get("aof_enabled")) or _takes_snapshots(),
    )


def _takes_snapshots() -> bool | None:
    """Return whether Redis takes snapshots; None if it does not say."""
    try:
        answer: Any = client().config_get(_SAVE)
    except redis.ResponseError:
        return None
    return bool(answer[_SAVE]) if _SAVE in answer else None
