"""One pass of the reconciler over 100,000 open tasks, beside half a million that have ended."""

from __future__ import annotations

import json
import time
from typing import Any

import psycopg

from bench import tasks
from bench.lab import Lab
from bench.report import Figure, Report, below, progress, say

OPEN = 100_000
#: Of these, how many workers hold: reserved or running.
HELD = 20_000
WORKERS = 100
ENDED = 500_000
ROUNDS = 7
CHUNK = 10_000


def run(*, rounds: int | None, quick: bool) -> Report:
    """Run the benchmark."""
    total = rounds or (3 if quick else ROUNDS)
    with Lab() as lab:
        lab.load_zenith()
        _fill(lab)
        full_before, by_index_before = _scans(lab)
        calm = [_pass(lab, number, total) for number in range(total)]
        _lose_a_message(lab)
        listing = [_pass(lab, number, total) for number in range(total)]
        full, by_index = _scans(lab)
    assert by_index > by_index_before, "PostgreSQL counts no scans, so this figure would be meaningless"
    report = Report(f"reconcile: {OPEN:,} open tasks")
    report.notes = [
        f"  {OPEN - HELD:,} wait in a queue, {WORKERS} workers hold {HELD:,}, and {ENDED:,} more have ended. Each pass is the",
        "  first of its engine, so a pass that misses a message compares the whole queue; otherwise that happens every 15 s.",
    ]
    report.figures = [
        Figure("reconcile: a pass with everything in order", calm, unit="s", target=below(2.0)),
        Figure("reconcile: a pass that misses a message, and compares the whole queue", listing, unit="s", target=below(2.0)),
        Figure("reconcile: full scans of the tasks' table in all passes", [full - full_before], unit="", target=below(1)),
    ]
    return report


def _fill(lab: Lab) -> None:
    from tasks_app.dispatch.create import Dispatch, Origin, dispatch

    for number in range(0, OPEN, CHUNK):
        progress(f"reconcile: {number:,} of {OPEN:,} tasks")
        dispatch(Dispatch(task=tasks.NAME, count=CHUNK), Origin(source="command"))
    with _connection(lab) as connection:
        connection.execute(
            """INSERT INTO tasks_app_task (id, name, queue, status, position, args, kwargs, source, worker, error_type,
                error_message, created_at, finished_at)
            SELECT gen_random_uuid(), %s, 'default', 'SUCCESS', 6, '[]', '{}', 'command', 'w', '', '', now(), now()
            FROM generate_series(1, %s)""",
            (tasks.NAME, ENDED),
        )
        _take_messages(lab, connection)
        connection.execute("VACUUM ANALYZE tasks_app_task")


def _take_messages(lab: Lab, connection: psycopg.Connection[Any]) -> None:
    """Write what kombu and Zenith's transport store in Redis when workers take messages."""
    from zenith_worker.wire import keys
    from zenith_worker.wire.keys import TAKEN

    client = lab.redis(0)
    bodies = client.rpop("default", HELD)
    assert isinstance(bodies, list)
    held_messages: dict[str, list[tuple[str, str]]] = {f"w{number}": [] for number in range(WORKERS)}
    with client.pipeline(transaction=False) as pipe:
        for number, body in enumerate(bodies):
            message = json.loads(body)
            tag, owner = str(message["properties"]["delivery_tag"]), f"w{number % WORKERS}"
            held_messages[owner].append((tag, message["headers"]["id"]))
            pipe.hset(keys.UNACKED, tag, json.dumps([message, "", "default"]))
            pipe.zadd(keys.UNACKED_INDEX, {tag: time.time()})
            pipe.hset(TAKEN, tag, owner)
        pipe.execute()
    connection.execute(
        """UPDATE tasks_app_task SET status = CASE WHEN number %% 2 = 0 THEN 'STARTED' ELSE 'RECEIVED' END, started_at = now()
        FROM unnest(%s::uuid[]) WITH ORDINALITY AS taken (task, number) WHERE id = task""",
        ([id_ for pairs in held_messages.values() for _, id_ in pairs],),
    )
    _write_heartbeats(lab, held_messages)


def _write_heartbeats(lab: Lab, held_messages: dict[str, list[tuple[str, str]]]) -> None:
    from zenith_worker.wire import heartbeat, keys

    client = lab.redis(0)
    for name, pairs in held_messages.items():
        heartbeat.write(
            name, slots=16, busy=16, queues=["default"], held=[id_ for _, id_ in pairs], tags=[tag for tag, _ in pairs]
        )
        # `write` recorded this process's instance. Give each worker its own, valid for the whole benchmark.
        key = f"zenith:worker:{name}"
        client.set(key, json.dumps({**json.loads(client.get(key) or b""), "instance": name}), px=299_000)
        client.set(keys.ALIVE + name, name)


def _lose_a_message(lab: Lab) -> None:
    assert lab.redis(0).lpop("default")


def _pass(lab: Lab, number: int, total: int) -> float:
    from tasks_app.dispatch.reconciler_loop import reconcile
    from tasks_app.maintenance.reconciler import HeldMessageRecovery, LostTaskSearch

    progress(f"reconcile: pass {number + 1} of {total}")
    recoverer, searcher = HeldMessageRecovery(), LostTaskSearch()
    started_at = time.perf_counter()
    reconcile(recoverer, searcher)
    seconds = time.perf_counter() - started_at
    say(f"reconcile: pass {number + 1} of {total}: {seconds:.2f} s")
    return seconds


def _scans(lab: Lab) -> tuple[int, int]:
    """Return the numbers of full scans and of index scans of the tasks' table."""
    from django.db import connection as own

    with own.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
    with _connection(lab) as connection:
        row = connection.execute("SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'tasks_app_task'").fetchone()
    assert row
    return int(row[0]), int(row[1])


def _connection(lab: Lab) -> psycopg.Connection[Any]:
    assert lab.servers
    return psycopg.connect(lab.servers.addresses.database_url, autocommit=True)
