"""Workers that die: their tasks run elsewhere, and each ends once."""

from __future__ import annotations

import psutil

from tests.faults.harness import World
from tests.waiting import eventually


def children(pid: int) -> list[psutil.Process]:
    """The processes of a worker's pool."""
    return psutil.Process(pid).children(recursive=True)


def test_nothing_happens(world: World) -> None:
    """The case against which the others are read."""
    world.begin("nothing")
    with world.load():
        pass
    world.settle()
    world.check()


def test_pool_processes_are_killed_in_their_tasks(world: World) -> None:
    world.begin("pool processes killed")
    with world.load():
        for _ in range(3):
            world.wait(0.2, 0.8)
            world.rng.choice(children(world.rng.choice(world.workers).pid)).kill()
    world.settle()
    world.check()


def test_a_worker_is_killed_with_tasks_reserved_and_running(world: World) -> None:
    world.begin("worker killed")
    with world.load():
        victim = world.workers[0]
        held = world.dispatch("long", 6, kwargs={"seconds": 3.0})
        mine = "SELECT id::text FROM tasks_app_task WHERE id = ANY(%s::uuid[]) AND worker = %s AND status IN ('RECEIVED', 'STARTED')"
        ids = [id_ for (id_,) in eventually(lambda: world.query(mine, held, victim.name))]
        victim.kill()
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
