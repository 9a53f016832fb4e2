"""Where other programs write, and how much garbage each place gets: ten thousand pieces in all."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import httpx
import websockets

from tests.hostile.garbage import Garbage
from zenith_worker.wire import keys, stream
from zenith_worker.wire.ids import new_id

ENTRIES, BEATS, MESSAGES, HELD, CLAIMS, RESULTS, COUNTS, LINES = 3400, 600, 1500, 600, 1000, 1000, 100, 300
LOGGED = 300
BODIES, FRAMES = 400, 800
#: What a worker reports, how it gives a sign of life, what it claims, what it answers.
ENTRY = [{"task_id": str(new_id()), "status": "STARTED", "at": 1.5, "worker": "w@h", "name": "t", "queue": "q", "args": [1]}]
BEAT = {
    "pid": 1, "slots": 2, "busy": 0, "queues": ["default"], "version": "5.7.0", "instance": "i", "held": ["a"], "tags": ["b"],
    "autoscale": [1, 2], "limited": [["t", 1, "1/s"]], "clock": 1.5,
}  # fmt: skip
LOG = [{"t": str(new_id()), "f": 1, "a": 1, "l": [[1.5, 20, "shop", "a line"]]}]
CLAIM = "R|0|i|t|1|0"
RESULT = {"status": "SUCCESS", "result": 1, "task_id": "x"}
DISPATCH = {"dispatches": [{"task": "analyze_text", "count": 1, "data": "x", "kwargs": {}}]}
#: Characters of a frame, below the bound that closes the socket: garbage is to be read.
FRAME = 4000


def message(id_: str) -> dict[str, Any]:
    """Return what Celery puts into a queue's list."""
    body = base64.b64encode(json.dumps([["x y"], {}, {"callbacks": None}]).encode()).decode()
    return {
        "body": body, "content-encoding": "utf-8", "content-type": "application/json",
        "headers": {"lang": "py", "task": "analyze_text", "id": id_, "root_id": id_, "retries": 0, "argsrepr": "()"},
        "properties": {
            "correlation_id": id_, "delivery_mode": 2, "delivery_info": {"exchange": "", "routing_key": "default"}, "priority": 0,
            "body_encoding": "base64", "delivery_tag": str(uuid4()),
        },
    }  # fmt: skip


def write(garbage: Garbage, node: UUID) -> None:
    """Write what workers, producers and agents write into Redis."""
    with stream.client().pipeline(transaction=False) as pipe:
        for _ in range(ENTRIES):
            pipe.xadd(keys.EVENTS, {garbage.rng.choice("eeex"): garbage.raw(ENTRY)})
        for _ in range(LOGGED):
            pipe.xadd(keys.LOGS, {garbage.rng.choice("lllx"): garbage.raw(LOG)})
        for number in range(BEATS):
            pipe.sadd(keys.WORKERS, f"bad{number}@host")
            pipe.set(f"{keys.WORKER}bad{number}@host", garbage.raw(BEAT), ex=300)
        for _ in range(MESSAGES):
            pipe.lpush("default", garbage.raw(message(str(new_id()))))
        for number in range(HELD):
            pipe.hset(keys.UNACKED, f"bad{number}", garbage.raw([message(str(new_id())), "", "default"]))
            pipe.zadd(keys.UNACKED_INDEX, {f"bad{number}": time.time()})
            pipe.hset(keys.TAKEN, f"bad{number}", garbage.raw("somebody"))
        for _ in range(CLAIMS):
            pipe.set(f"{keys.CLAIM}{new_id()}", garbage.raw(CLAIM), ex=600)
        for _ in range(RESULTS):
            pipe.set(f"celery-task-meta-{new_id()}", garbage.raw(RESULT), ex=600)
        for _ in range(COUNTS):
            pipe.set(f"{keys.DELIVERIES}{new_id()}", garbage.raw(1), ex=600)
            pipe.hset(keys.FAULTS, garbage.raw("relay"), garbage.raw({"part": "relay", "at": 1.5}))
            pipe.hset(keys.RECORDER_STATS, garbage.raw("size:1"), garbage.raw(1))
        for _ in range(LINES):
            pipe.xadd(f"{keys.NODE_LOG}{node}", {name: garbage.raw("a line") for name in ("t", "s", "m")})
        pipe.execute()


def call(garbage: Garbage, web: httpx.Client) -> set[tuple[str, int]]:
    """Send garbage as bodies to every operation of the API that takes one; return paths with the statuses of the answers."""
    paths = web.get("/openapi.json").json()["paths"]
    operations = [(method, path) for path, methods in paths.items() for method in methods if method in ("post", "put", "patch")]
    answers = set()
    for number in range(BODIES):
        method, path = operations[number % len(operations)]
        url = path.replace("{", "").replace("}", "")
        headers = {"Content-Type": "application/json"}
        answers.add((path, web.request(method, url, content=garbage.raw(DISPATCH), headers=headers).status_code))
    return answers


async def speak(garbage: Garbage, port: int, token: str) -> None:
    """Send garbage over sockets; where the server ends one, over another."""
    said = 0
    while said < FRAMES:
        with suppress(websockets.WebSocketException, OSError):
            async with websockets.connect(f"ws://127.0.0.1:{port}/ws/tasks", additional_headers={"X-API-Key": token}) as socket:
                while said < FRAMES:
                    said += 1
                    raw = garbage.raw({"type": "RESUME", "after": 1})[:FRAME]
                    await socket.send(raw if said % 2 else raw.decode(errors="replace"))
                    with suppress(TimeoutError):
                        await asyncio.wait_for(socket.recv(), 0.001)
