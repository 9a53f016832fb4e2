"""Engines and web processes that die: what they were about to write or to send is neither lost nor done twice."""

from __future__ import annotations

import threading

from tests.faults.harness import World
from tests.waiting import eventually


def test_all_engines_are_killed_and_stay_away_for_a_minute(world: World) -> None:
    world.begin("engines killed", engines=2)
    with world.load(waves=4, canvas=True):
        world.kill(*world.engines)
        world.wait(60, 62)
        engines = [world.launch_engine(), world.launch_engine()]
    world.await_ready(*engines)
    world.settle()
    world.check()


def test_a_recorder_is_killed_between_commit_and_acknowledgement(world: World) -> None:
    world.begin("recorder killed")
    victim = world.launch_saboteur("recorder", world.rng.randint(1, 3))
    with world.load(canvas=True):
        # The other recorder may have read everything before it was up.
        assert eventually(lambda: not victim.runs or not world.dispatch("short", 20), within=60, every=1)
        assert "Traceback" not in victim.output, victim.output
    world.settle()
    world.check()


def test_a_relay_is_killed_between_publication_and_marking(world: World) -> None:
    world.begin("relay killed", engines=0)
    engine = world.launch_engine("--only", "recorder", "--only", "reconciler", "--only", "answers")
    world.await_ready(engine)
    victim = world.launch_saboteur("relay")
    with world.load(canvas=True):
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
    with world.load(waves=5, canvas=True):
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
        world.await_last_words(web)
    (count,) = world.query("SELECT count(*) FROM tasks_app_task")[0]
    assert count % 10_000 == 0
    world.account.ids.update(id_ for (id_,) in world.query("SELECT id::text FROM tasks_app_task"))
    world.settle()
    assert world.query("SELECT count(*) FROM tasks_app_task WHERE status = 'SUCCESS'") == [(count,)]
    world.check()


def test_everything_is_restarted_one_after_the_other_as_for_an_upgrade(world: World) -> None:
    """As docs/operations.md describes it: nothing is lost, and no worker counts as one that died."""
    world.begin("rolling restart", workers=0)
    gentle = {"REMAP_SIGTERM": "SIGQUIT"}
    workers = [world.launch_worker(**gentle) for _ in range(2)]
    web, port = world.launch_web()
    world.await_ready(*workers)
    with world.load(waves=6, canvas=True):
        held = world.dispatch("long", 4, kwargs={"seconds": 8.0})
        eventually(lambda: world.statuses(held)["STARTED"] >= 2)
        successor = world.launch_engine()
        world.await_ready(successor)
        world.end(world.engines[0])
        for worker in workers:
            world.end(worker)
            world.await_ready(world.launch_worker(**gentle))
        _, next_port = world.launch_web()
        world.end(web)
        assert world.trigger(port, 1) == (0, None)
        status, answer = world.trigger(next_port, 10)
        assert status == 200
        world.account.ids.update(world.keys(answer["ids"]))
    world.settle()
    world.check()
    assert world.query("SELECT count(*) FROM tasks_app_attempt WHERE error_type = 'WorkerLostError'") == [(0,)]
    assert world.query("SELECT DISTINCT severity FROM notify_notification WHERE kind = 'worker-gone'") == []
