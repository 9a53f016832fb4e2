"""What a Redis says of itself that decides whether it keeps messages and results: its memory, and what it writes to disk."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import redis

#: The setting that says when Redis takes snapshots; empty for never.
_SAVE: Final = "save"


class RedisHealth(NamedTuple):
    """What a Redis says; None is not known. Bytes.

    Attributes:
        eviction: its maxmemory-policy; `memory_limit` is 0 without maxmemory.
        persistent: whether it writes to disk, with an append-only file or snapshots.
        refused: the commands that its user may not use.
    """

    eviction: str | None = None
    memory_used: int | None = None
    memory_limit: int | None = None
    persistent: bool | None = None
    refused: tuple[str, ...] = ()


def ask(client: redis.Redis) -> RedisHealth:
    """Ask a Redis. Raises redis.RedisError if it does not answer at all."""
    refused: list[str] = []
    memory = _info(client, "memory", refused)
    persistence = _info(client, "persistence", refused)
    appends = _flag(persistence.get("aof_enabled"))
    persistent = appends or _takes_snapshots(client, refused)
    if appends is None and not persistent:
        persistent = None
    policy = memory.get("maxmemory_policy")
    return RedisHealth(
        policy[:50] if isinstance(policy, str) else None, _count(memory.get("used_memory")), _count(memory.get("maxmemory")),
        persistent, tuple(dict.fromkeys(refused)),
    )  # fmt: skip


def _info(client: redis.Redis, section: str, refused: list[str]) -> dict[str, Any]:
    try:
        answer: Any = client.info(section)
    except redis.ResponseError:
        refused.append("INFO")
        return {}
    return answer if isinstance(answer, dict) else {}


def _takes_snapshots(client: redis.Redis, refused: list[str]) -> bool | None:
    """Return whether Redis takes snapshots; None if it does not say."""
    try:
        answer: Any = client.config_get(_SAVE)
    except redis.ResponseError:
        refused.append("CONFIG GET")
        return None
    return bool(answer[_SAVE]) if isinstance(answer, dict) and _SAVE in answer else None


def _flag(value: Any) -> bool | None:
    return None if value is None else value in (1, "1", True)


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None
