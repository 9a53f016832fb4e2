"""Servers that die, stop answering, or refuse: nothing is lost but what this suite's documentation says."""

from __future__ import annotations

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
        for process in [*world.workers, *world.engines]:
            process.kill()
        world.kill_redis()
        world.kill_postgres()
        world.wait(0.5, 2)
        world.servers.start_postgres()
        world.servers.start_redis()
        back = [world.launch_worker(), world.launch_worker(), world.launch_engine()]
    world.await_ready(*back)
    world.settle()
    world.check()
