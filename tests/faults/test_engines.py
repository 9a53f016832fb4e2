"""Engines and web processes that die: what they were about to write or to send is neither lost nor done twice."""

from __future__ import annotations

import threading

from tests.faults.harness import World
from tests.waiting import eventually


def test_all_engines_are_killed_and_stay_away_for_a_minute(world: World) -> None:
    world.begin("engines killed", engines=2)
    with world.load(waves=4):
        world.kill(*world.engines)
        world.wait(60, 62)
        engines = [world.launch_engine(), world.launch_engine()]
    world.await_ready(*engines)
    world.settle()
    world.check()


def test_a_recorder_is_killed_between_commit_and_acknowledgement(world: World) -> None:
    world.begin("recorder killed")
    victim = world.launch_saboteur("recorder", world.rng.randint(1, 3))
    with world.load():
        assert eventually(lambda: not victim.runs, within=60)
        assert "Traceback" not in victim.output, victim.output
    world.settle()
    world.check()


def test_a_relay_is_killed_between_publication_and_marking(world: World) -> None:
    world.begin("relay killed", engines=0)
    engine = world.launch_engine("--only", "recorder", "--only", "reconciler")
    world.await_ready(engine)
    victim = world.launch_saboteur("relay")
    with world.load():
        ids = world.dispatch("short", 200, delay=1.0)
        assert eventually(lambda: not victim.runs, within=60)
        assert "Traceback" not in victim.output, victim.output
        world.launch_engine("--only", "relay")
    world.settle()
    runs = "SELECT task_id, count(*) FROM fault_run WHERE task_id = ANY(%s::uuid[]) GROUP BY task_id HAVING count(*) > 1"
    assert world.query(runs, ids) == []
    world.check()


def test_two_of_each_part_run_at_once(world: World) -> None:
    world.begin("two of each", engines=2)
    with world.load(waves=5):
        pass
    world.settle()
    world.check()


def test_a_web_process_is_killed_in_the_middle_of_a_dispatch(world: World) -> None:
    """All ten thousand tasks exist afterwards, or none."""
    world.begin("web killed")
    for _ in range(2):
        web, port = world.launch_web()
        asking = threading.Thread(target=world.trigger, args=(port, 10_000))
        asking.start()
        world.wait(0.1, 1.5)
        world.kill(web)
        asking.join()
    (count,) = world.query("SELECT count(*) FROM tasks_app_task")[0]
    assert count % 10_000 == 0
    world.account.ids.update(id_ for (id_,) in world.query("SELECT id::text FROM tasks_app_task"))
    world.settle()
    assert world.query("SELECT count(*) FROM tasks_app_task WHERE status = 'SUCCESS'") == [(count,)]
    world.check()
