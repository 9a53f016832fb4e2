"""The same faults, and the same accounting, for another application's workers: attached, with all guards (attached.py).

`make test` has the cases of SOME and one of the others, as the seed draws it; `make test-long` has all.

No case here is:
- `test_the_disk_is_full`: the disk is that of Zenith's servers. To the application that is a Redis that dies and comes back.
"""

from __future__ import annotations

import random
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults import test_engines, test_servers, test_workers
from tests.faults.attached import AttachedWorld
from tests.servers import IS_LONG
from tests.waiting import eventually

Case = Callable[[AttachedWorld], None]


@pytest.fixture(scope="module")
def only_world() -> Iterator[AttachedWorld]:
    """The servers, until the last case of this file."""
    directory = Path(tempfile.mkdtemp(prefix="zenith-faults-"))
    directory.chmod(0o711)
    world = AttachedWorld(directory, random.Random())
    try:
        world.open()
        yield world
    finally:
        world.close()


def a_worker_is_stopped_at_once(world: AttachedWorld) -> None:
    """Celery's cold shutdown, on SIGQUIT: what runs is interrupted, and runs elsewhere."""
    world.stop_signal = signal.SIGQUIT
    try:
        test_workers.test_a_worker_is_told_to_stop_and_hands_back_what_it_cannot_finish(world)
    finally:
        world.stop_signal = signal.SIGTERM


def the_applications_redis_restarts(world: AttachedWorld) -> None:
    """Its workers lose their connections in their tasks, and the broker delivers again what they still run."""
    world.begin("application's Redis restarted")
    with world.load(waves=4):
        running = world.dispatch("long", 4, kwargs={"seconds": 8.0})
        eventually(lambda: world.statuses(running)["STARTED"] >= 2)
        for _ in range(2):
            world.restart_broker(world.rng.uniform(0.5, 2))
            world.wait(0.5, 2)
    world.settle()
    world.check()
    assert runs(world, running) == dict.fromkeys(running, 1)


def the_applications_redis_is_killed(world: AttachedWorld) -> None:
    world.begin("application's Redis killed")
    with world.load(waves=4):
        world.kill_broker()
        world.wait(0.5, 3)
        world.own.start_redis()
    world.settle()
    world.check()


def messages_are_delivered_more_than_once(world: AttachedWorld) -> None:
    """By the broker while the task runs, as another message while it runs and after its end, by two dispatches with one key.

    A task that kills every process that runs it is delivered three times.
    """
    world.begin("delivered twice")
    poison = [*world.dispatch("poison", 1), *world.send("poison", 1)]
    eventually(lambda: world.statuses(poison) == {"FAILURE": 2})
    redelivered = world.dispatch("long", 2, kwargs={"seconds": 4.0})
    ids = [str(uuid4()) for _ in range(2)]
    for _ in range(2):
        sent = world.ask_sender("send", name="faults.long", ids=ids, kwargs={"seconds": 3.0})
    twice = world.keys(sent["sent"])
    world.account.foreign.update(twice)
    eventually(lambda: world.statuses(redelivered)["STARTED"] == 2)
    for key in redelivered:
        world.deliver_again(key)
    request = {"key": uuid4().hex, "task": "faults.short", "count": 5, **world.asked}
    same = [world.ask("dispatch", **request) for _ in range(2)]
    assert same[0] == same[1]
    world.account.ids.update(same[0])
    world.settle()
    world.ask_sender("send", name="faults.long", ids=ids, kwargs={"seconds": 3.0})
    world.settle()
    world.check()
    tasks = [*redelivered, *twice, *same[0]]
    assert world.statuses(tasks) == {"SUCCESS": len(tasks)}
    assert runs(world, [*tasks, *poison]) == {**dict.fromkeys(tasks, 1), **dict.fromkeys(poison, 3)}
    errors = "SELECT status, error_type FROM tasks_app_task WHERE id = ANY(%s::uuid[])"
    assert world.query(errors, poison) == [("FAILURE", "PoisonTaskError")] * 2


def runs(world: AttachedWorld, tasks: list[str]) -> dict[str, int]:
    """Return how often the body of each task began."""
    began = world.query("SELECT task_id::text FROM fault_run WHERE task_id = ANY(%s::uuid[])", tasks)
    return dict(Counter(id_ for (id_,) in began))


#: What guards are for.
SOME: tuple[Case, ...] = (
    test_workers.test_a_worker_is_killed_with_tasks_reserved_and_running,
    messages_are_delivered_more_than_once,
)
OTHERS: tuple[Case, ...] = (
    test_workers.test_nothing_happens,
    test_workers.test_pool_processes_are_killed_in_their_tasks,
    test_workers.test_only_the_main_process_of_a_worker_is_killed,
    test_workers.test_a_worker_is_cut_off_for_so_long_that_others_take_over,
    test_workers.test_workers_of_an_older_release_get_tasks_that_they_do_not_know,
    test_workers.test_a_worker_is_told_to_stop_and_hands_back_what_it_cannot_finish,
    a_worker_is_stopped_at_once,
    the_applications_redis_restarts,
    the_applications_redis_is_killed,
    test_engines.test_a_recorder_is_killed_between_commit_and_acknowledgement,
    test_engines.test_a_relay_is_killed_between_publication_and_marking,
    test_engines.test_two_of_each_part_run_at_once,
    test_engines.test_a_web_process_is_killed_in_the_middle_of_a_dispatch,
    test_engines.test_everything_is_restarted_one_after_the_other_as_for_an_upgrade,
    test_servers.test_redis_is_killed_and_starts_again,
    test_servers.test_all_connections_to_redis_break_again_and_again,
    test_servers.test_postgres_is_killed_and_starts_again,
    test_servers.test_postgres_stops_answering_for_twenty_seconds,
    test_servers.test_everything_is_killed_at_once,
    test_servers.test_redis_is_full,
)
#: They take about a minute each.
LONG: tuple[Case, ...] = (
    test_workers.test_a_worker_has_a_clock_that_is_wrong,
    test_engines.test_all_engines_are_killed_and_stay_away_for_a_minute,
    test_servers.test_redis_is_away_for_longer_than_a_heartbeat_lasts,
    test_servers.test_redis_comes_back_empty,
)


@pytest.mark.parametrize(
    "case", (*SOME, *OTHERS, *LONG) if IS_LONG else SOME, ids=lambda case: case.__name__.removeprefix("test_")
)
def test_the_same_is_true_of_an_attached_application(world: AttachedWorld, case: Case) -> None:
    case(world)


if not IS_LONG:

    def test_the_same_is_true_in_one_of_the_other_cases(world: AttachedWorld) -> None:
        case = world.rng.choice(OTHERS)
        print(case.__name__)  # noqa: T201 (pytest shows it for a failed test only)
        case(world)
