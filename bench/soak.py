"""Run the fault suite's world for minutes: steady load, a fault every few seconds, and the same accounting at the end."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

from bench.lab import clean_environment
from bench.report import Figure, Report, below, progress, say
from tests.faults.harness import World

#: Minutes to run; a round is a minute.
MINUTES = 5
SETTLE_WITHIN = 180.0


def run(*, rounds: int | None, quick: bool) -> Report:
    """Run the benchmark."""
    clean_environment()
    minutes = rounds or (1 if quick else MINUTES)
    seed = random.randrange(1_000_000)
    directory = Path(tempfile.mkdtemp(prefix="zenith-soak-"))
    directory.chmod(0o711)
    world = World(directory, random.Random(seed))
    try:
        world.open()
        world.begin("soak", workers=3, engines=2)
        damages = _damage_for(world, minutes * 60.0)
        world.settle(SETTLE_WITHIN)
        problems = _problems(world)
        tasks = len(world.account.ids | world.account.foreign | world.account.unsure)
        seconds = world.recovery.seconds["settled"]
    finally:
        world.close()
    report = Report(f"soak: {minutes} min, seed {seed}")
    report.notes = [
        f"  {tasks:,} tasks; " + ", ".join(f"{count} × {name}" for name, count in sorted(damages.items())),  # noqa: RUF001
        *problems,
    ]
    report.figures = [
        Figure("soak: tasks dispatched", [tasks], unit=""),
        Figure("soak: damages", [sum(damages.values())], unit=""),
        Figure("soak: rules of the accounting table that did not hold", [len(problems)], unit="", target=below(1)),
        Figure("soak: until everything had ended, after the last damage", [seconds], unit="s"),
    ]
    return report


def _damage_for(world: World, seconds: float) -> Counter[str]:
    """Keep up the load and inject faults until the time is over; return how often each fault was injected."""
    ends = time.monotonic() + seconds
    failed: list[BaseException] = []

    def dispatch() -> None:
        try:
            while time.monotonic() < ends:
                world.wave()
                time.sleep(1.0)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=dispatch)
    thread.start()
    done: Counter[str] = Counter()
    try:
        while time.monotonic() < ends and thread.is_alive():
            name, damage = world.rng.choice(_DAMAGES)
            progress(f"soak: {ends - time.monotonic():.0f} s left; {name}")
            damage(world)
            done[name] += 1
            world.wait(2, 8)
    finally:
        thread.join()
    if failed:
        raise failed[0]
    say(f"soak: {sum(done.values())} faults injected; waiting for the last tasks")
    return done


def _problems(world: World) -> list[str]:
    try:
        world.check()
    except AssertionError as error:
        return str(error).splitlines()
    return []


def _worker(world: World) -> None:
    world.kill(world.rng.choice(world.workers))
    world.await_ready(world.launch_worker())


def _pool_process(world: World) -> None:
    children = psutil.Process(world.rng.choice(world.workers).pid).children(recursive=True)
    if children:
        world.rng.choice(children).kill()


def _engine(world: World) -> None:
    world.kill(world.rng.choice(world.engines))
    world.await_ready(world.launch_engine())


def _engines(world: World) -> None:
    world.kill(*world.engines)
    world.wait(1, 5)
    world.await_ready(world.launch_engine(), world.launch_engine())


def _redis(world: World) -> None:
    world.kill_redis()
    world.wait(0.5, 3)
    world.servers.start_redis()


def _postgres(world: World) -> None:
    world.kill_postgres()
    world.wait(0.5, 3)
    world.servers.start_postgres()


def _pause(world: World) -> None:
    with world.paused(world.servers.postgres_pid):
        world.wait(2, 8)


def _connections(world: World) -> None:
    world.cut_connections()


_DAMAGES: list[tuple[str, Callable[[World], None]]] = [
    ("worker killed", _worker),
    ("pool process killed", _pool_process),
    ("engine killed", _engine),
    ("all engines killed", _engines),
    ("Redis killed", _redis),
    ("PostgreSQL killed", _postgres),
    ("PostgreSQL paused", _pause),
    ("connections to Redis broken", _connections),
]
