"""Servers that die, stop answering, or refuse: nothing is lost but what this suite's documentation says."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.conftest import SEED, report, seed
from tests.faults.harness import World


def test_redis_is_killed_and_starts_again(world: World) -> None:
    world.begin("Redis killed")
    with world.load(waves=4):
        for _ in range(2):
            world.kill_redis()
            world.wait(0.5, 3)
            world.servers.start_redis()
            world.wait(0.5, 2)
    world.settle()
    world.check()


def test_redis_is_away_for_longer_than_a_heartbeat_lasts(world: World) -> None:
    """Every worker looks dead when it comes back; none is robbed of its tasks for that."""
    world.begin("Redis away")
    with world.load():
        running = world.dispatch("long", 4, kwargs={"seconds": 25.0})
        world.wait(1, 2)
        world.kill_redis()
        world.wait(14, 15)
        world.servers.start_redis()
    world.settle()
    world.check()
    runs = world.query("SELECT task_id::text, count(*) FROM fault_run WHERE task_id = ANY(%s::uuid[]) GROUP BY 1", running)
    assert all(count == 1 for _, count in runs), runs


def test_all_connections_to_redis_break_again_and_again(world: World) -> None:
    """A network that blips costs a worker its connections, not its tasks: nobody is taken for dead."""
    world.begin("connections broken")
    with world.load(waves=4):
        running = world.dispatch("long", 2, kwargs={"seconds": 6.0})
        for _ in range(4):
            world.wait(0.3, 1.5)
            world.cut_connections()
    world.settle()
    world.check()
    assert world.query("SELECT FROM tasks_app_taskevent WHERE message LIKE 'its worker died%%'") == []
    runs = world.query("SELECT task_id::text, count(*) FROM fault_run WHERE task_id = ANY(%s::uuid[]) GROUP BY 1", running)
    assert all(count == 1 for _, count in runs), runs


def test_redis_comes_back_empty(world: World) -> None:
    world.begin("Redis wiped")
    world.account.foreign_lost = True
    with world.load():
        world.wait(0, 1)
        world.redis.flushall()
    world.settle()
    world.check(reports_lost=True)


def test_postgres_is_killed_and_starts_again(world: World) -> None:
    world.begin("PostgreSQL killed")
    with world.load(waves=4):
        for _ in range(2):
            world.kill_postgres()
            world.wait(0.5, 3)
            world.servers.start_postgres()
            world.wait(0.5, 2)
    world.settle()
    world.check()


def test_postgres_stops_answering_for_twenty_seconds(world: World) -> None:
    world.begin("PostgreSQL paused")
    with world.load(), world.paused(world.servers.postgres_pid):
        world.wait(20, 21)
    world.settle()
    world.check()


def test_everything_is_killed_at_once(world: World) -> None:
    world.begin("everything killed", engines=2)
    with world.load(waves=4):
        world.kill(*world.workers, *world.engines)
        world.kill_servers()
        world.wait(0.5, 2)
        world.start_servers()
        back = [world.launch_worker(), world.launch_worker(), world.launch_engine()]
    world.await_ready(*back)
    world.settle()
    world.check()


def test_redis_is_full(world: World) -> None:
    """Who asks for tasks is told so, and nothing is half done; what was accepted before is done when there is room again."""
    world.begin("Redis full")
    _, port = world.launch_web()
    with world.load(waves=2):
        world.redis.config_set("maxmemory", world.redis.info("memory")["used_memory"] // 2)
        try:
            before = world.query("SELECT count(*) FROM tasks_app_batch WHERE sent_by <> ''")
            answers = [world.trigger(port, 5) for _ in range(3)]
            assert [status for status, _ in answers] == [503] * 3, answers
            assert world.query("SELECT count(*) FROM tasks_app_batch WHERE sent_by <> ''") == before
            world.wait(3, 6)
        finally:
            world.redis.config_set("maxmemory", 0)
    status, body = world.trigger(port, 5)
    assert status == 200, body
    world.account.ids.update(world.keys(body["ids"]))
    world.settle()
    world.check()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_the_disk_is_full(tmp_path: Path) -> None:
    """A PostgreSQL and a Redis that cannot write take the whole data directory along; freed, both go on."""
    number = seed()
    print(f"{SEED}={number}")  # noqa: T201 (pytest shows it for a failed test only)
    with small_disk(400) as directory:
        # A program that cannot write its log ends, which is not what is tried here.
        world = World(directory, random.Random(number), logs=tmp_path)
        try:
            world.open()
            world.begin("disk full")
            with world.load(waves=3):
                filler = directory / "data" / "filler"
                fill(filler)
                world.wait(3, 5)
                filler.unlink()
                world.servers.start_postgres()
                world.servers.start_redis()
            world.settle()
            world.check()
            report(world, number)
        finally:
            world.close()


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """Yield a directory on a file system of that size."""
    directory = Path(tempfile.mkdtemp(prefix="zenith-faults-"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0711", "tmpfs", str(directory)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        directory.rmdir()
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=False)
        directory.rmdir()


def fill(path: Path) -> None:
    """Write a file until there is no room left."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1024 * 1024)):
            pass
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(512)):
            pass
