"""What an application's workers can run: each writes its catalogue of tasks under a digest, which its heartbeats name.

During a rolling deploy an application has several catalogues at once, each of which some of its workers have.

A catalogue is a JSON object of tasks by name. Each has `doc` (text), `queue` (where its messages go, or null), `max_retries`
(a number, or null for any), `drill`, and `parameters`, a list in order: `name`, `kind` (one of KINDS), `required`, `schema` (JSON
Schema 2020-12 of its values) and, if there is one that is JSON, `default`. Servers trust none of that.

Zenith itself publishes the messages of its own application's tasks (keys.py: NATIVE). So those also have what is in a message, if
it is set: `ignore_result` (true), `time_limit` and `soft_time_limit` (seconds).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from zenith_worker.wire.client import client, command
from zenith_worker.wire.keys import application_keys

#: The kinds of parameters, as Python's `inspect` names them in lower case.
KINDS: Final = ("positional_only", "positional_or_keyword", "var_positional", "keyword_only", "var_keyword")
#: The most tasks of a catalogue, and the most characters of its JSON.
TASKS_AT_MOST: Final = 2000
JSON_AT_MOST: Final = 2**21


def encode(tasks: Mapping[str, Any]) -> tuple[str, str]:
    """Return a catalogue's digest and JSON, the same for the same tasks in any order. Raises ValueError if it is too large."""
    written = json.dumps(tasks, sort_keys=True, separators=(",", ":"))
    if len(tasks) > TASKS_AT_MOST or len(written) > JSON_AT_MOST:
        raise ValueError(f"a catalogue has at most {TASKS_AT_MOST} tasks and {JSON_AT_MOST:,} characters of JSON")
    return hashlib.sha256(written.encode()).hexdigest()[:32], written


def publish(application: str, digest: str, written: str) -> None:
    """Write a catalogue for the servers, unless it is there. Raises redis.RedisError."""
    key = application_keys(application).catalogue
    if not command("HEXISTS", key, digest):
        command("HSET", key, digest, written)


def read(application: str, digests: Iterable[str]) -> dict[str, bytes]:
    """Return the JSON of these catalogues by digest, as it was written, without unknown ones. Raises redis.RedisError.

    One that is too large is read as empty: whoever writes there may write anything.
    """
    key, found = application_keys(application).catalogue, {}
    for digest in digests:
        if length := int(client().hstrlen(key, digest)):
            value: Any = client().hget(key, digest) if length <= JSON_AT_MOST else b""
            if value is not None:
                found[digest] = value
    return found


def keep_only(application: str, digests: Iterable[str], *, unless_fewer_than: int = 0) -> None:
    """Forget all catalogues but these, if there are not few of them. Raises redis.RedisError."""
    key, kept = application_keys(application).catalogue, set(digests)
    if int(client().hlen(key)) < unless_fewer_than:
        return
    known: Any = client().hkeys(key)
    if gone := [name for name in known if (name if isinstance(name, str) else name.decode(errors="replace")) not in kept]:
        client().hdel(key, *gone)
