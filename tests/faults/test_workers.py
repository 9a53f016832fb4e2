"""Workers that die: their tasks run elsewhere, and each ends once."""

from __future__ import annotations

import os
import time

import psutil

from tests.faults.harness import World
from tests.processes import REPOSITORY
from tests.waiting import eventually


def children(pid: int) -> list[psutil.Process]:
    """The processes of a worker's pool."""
    return psutil.Process(pid).children(recursive=True)


def test_nothing_happens(world: World) -> None:
    """The case against which the others are read."""
    world.begin("nothing")
    with world.load(canvas=True):
        pass
    world.settle()
    world.check()


def test_pool_processes_are_killed_in_their_tasks(world: World) -> None:
    world.begin("pool processes killed")
    with world.load(canvas=True):
        for _ in range(3):
            world.wait(0.2, 0.8)
            world.rng.choice(children(world.rng.choice(world.workers).pid)).kill()
    world.settle()
    world.check()


def test_a_worker_is_killed_with_tasks_reserved_and_running(world: World) -> None:
    world.begin("worker killed")
    with world.load(canvas=True):
        victim = world.workers[0]
        held = world.dispatch("long", 6, kwargs={"seconds": 3.0})
        mine = "SELECT id::text FROM tasks_app_task WHERE id = ANY(%s::uuid[]) AND worker = %s AND position & 255 IN (4, 5)"
        ids = [id_ for (id_,) in eventually(lambda: world.query(mine, held, victim.name))]
        world.kill(victim)
        with world.measured("taken back after"):
            eventually(
                lambda: not world.query(mine, ids, victim.name), within=40,
                but=lambda: world.query("SELECT * FROM tasks_app_taskevent WHERE task_id = ANY(%s::uuid[])", ids),
            )  # fmt: skip
    assert world.recovery.seconds["taken back after"] < 30
    told = world.query("SELECT count(*) FROM tasks_app_taskevent WHERE message LIKE 'its worker died%%'")
    assert told[0][0] >= len(ids)
    world.settle()
    world.check()


def test_only_the_main_process_of_a_worker_is_killed(world: World) -> None:
    """Its pool's processes are orphans then, and may be running tasks: what they report still counts, once."""
    world.begin("worker's main process killed")
    with world.load(canvas=True):
        victim = world.workers[0]
        held = world.dispatch("long", 6, kwargs={"seconds": 3.0})
        eventually(lambda: world.statuses(held)["STARTED"] >= 2)
        psutil.Process(victim.pid).kill()
        victim.popen.wait(10)
        world.workers.remove(victim)
        world.dead.append(victim)
    world.settle()
    world.check()


def test_a_worker_is_cut_off_for_so_long_that_others_take_over(world: World) -> None:
    """When it comes back its late outcomes do not count: each task succeeds once."""
    world.begin("worker cut off")
    victim, other = world.workers
    with world.load(waves=2, canvas=True):
        held = world.dispatch("long", 8, kwargs={"seconds": 2.0})
        eventually(lambda: world.query("SELECT FROM tasks_app_task WHERE worker = %s AND status = 'STARTED'", victim.name))
        with world.paused(victim.pid):
            began = time.monotonic()
            eventually(lambda: world.statuses(held)["SUCCESS"] == len(held), within=60, but=lambda: world.statuses(held))
            world.recovery.seconds["taken over after"] = time.monotonic() - began
            time.sleep(max(0.0, 20 - (time.monotonic() - began)))
    world.settle()
    world.check()
    workers = {worker for (worker,) in world.query("SELECT worker FROM tasks_app_task WHERE id = ANY(%s::uuid[])", held)}
    assert other.name in workers


def test_a_worker_has_a_clock_that_is_wrong(world: World) -> None:
    world.begin("wrong clock", workers=1)
    off = str(world.rng.choice([-world.clock_off, world.clock_off]))
    path = f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests' / 'faults' / 'wrong_clock'}"
    wrong = world.launch_worker(PYTHONPATH=path, FAULTS_CLOCK_OFF=off, listed=False)
    world.await_ready(wrong)
    with world.load(canvas=True):
        pass
    world.settle()
    world.check(wrong_clocks=[wrong.name])
    told = world.query("SELECT count(*) FROM tasks_app_task WHERE worker = %s", wrong.name)
    assert told[0][0] > 0


def test_workers_of_an_older_release_get_tasks_that_they_do_not_know(world: World) -> None:
    """Both are failures that say so, and letters that can be replayed after the deployment."""
    world.begin("older release", workers=0)
    older = world.launch_worker("tests.faults.older_tasks", listed=False)
    world.await_ready(older)
    with world.load(waves=1, canvas=True):
        changed = world.send("changed", 5, unit="ms")
        added = world.send("added", 5)
        known = world.send("changed", 5, seconds=1.5)
    world.settle()
    world.check()
    errors = "SELECT DISTINCT error_type FROM tasks_app_task WHERE id = ANY(%s::uuid[])"
    assert world.query(errors, changed) == [("TypeError",)]
    assert world.query(errors, added) == [("NotRegistered",)]
    assert world.statuses(known) == {"SUCCESS": 5}


def test_a_worker_is_told_to_stop_and_hands_back_what_it_cannot_finish(world: World) -> None:
    world.begin("worker stopped")
    with world.load(canvas=True):
        victim = world.workers[0]
        held = world.dispatch("long", 4, kwargs={"seconds": 12.0})
        eventually(lambda: world.query("SELECT FROM tasks_app_task WHERE worker = %s AND status = 'STARTED'", victim.name))
        with world.measured("stopped within"):
            victim.popen.send_signal(world.stop_signal)
            victim.popen.wait(60)
        world.kill(victim)
    world.settle()
    world.check()
    assert world.statuses(held) == {"SUCCESS": 4}
    assert world.query("SELECT FROM tasks_app_taskevent WHERE message LIKE 'its worker died%%'") == []
