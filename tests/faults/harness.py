"""The fault suite's world: real servers, workers and engines, a load of mixed tasks, and the accounting at the end.

A case takes a `World`, begins a load (`load`), does its damage, heals it, waits for the end (`settle`) and has everything
checked (`check`). Nothing here imports Django or Zenith's models: what is checked is read from PostgreSQL and Redis themselves.
Tasks are known by their rows' keys. The tasks run in Zenith's own workers here, in those of another application in attached.py.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg
import redis

from tests.database import GIVE_WAY, empty
from tests.faults.accounting import Account, problems
from tests.faults.tasks import CREATE_TABLE
from tests.processes import NOWHERE, REPOSITORY, Process, free_port
from tests.servers import copy_seed
from tests.waiting import eventually
from zenith_site.embedded import EmbeddedServers
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import NATIVE, UNREADABLE, application_keys

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
MODULE = "tests.faults.tasks"
API_KEY = "zen_the-fault-suites-own-key-0123456789ab"
#: Seconds after which a case has hung.
PATIENCE = 150.0
#: Seconds of writes that a killed Redis may lose although it had answered: one, and what a busy disk adds (docs/operations.md).
REDIS_FORGETS = 3.0
#: What one wave of load is made of; a load has three.
WAVE = {"short": 50, "long": 4, "flaky": 8, "hopeless": 4, "later": 6, "foreign": 8}


@dataclass
class Recovery:
    """What a case measured, in seconds, for docs/reliability.md."""

    case: str
    seconds: dict[str, float] = field(default_factory=dict)


class World:
    """The servers of the suite and, on them, the processes of one case after the other.

    Attributes:
        application: the application that runs the tasks; NATIVE is Zenith's own.
        asked: what a dispatch says to name it.
        app: its Celery app, as Celery's command takes it, with options for its workers.
        stop_signal: what its operators stop a worker with.
        clock_off: seconds by which a wrong clock is off.

    Arguments:
        directory: for data.
        logs: for what the processes write; in `directory` by default.
        rng: chooses every moment and victim.
    """

    application = NATIVE
    asked: Mapping[str, str] = {}
    app = "zenith_site"
    worker_options: Sequence[str] = ()
    stop_signal = signal.SIGTERM
    clock_off = 300

    def __init__(self, directory: Path, rng: random.Random, logs: Path | None = None) -> None:
        self.directory = directory
        self.logs = logs or directory
        self.rng = rng
        self.account = Account()
        self.recovery = Recovery("")
        self.servers = EmbeddedServers(directory / "data")
        self.workers: list[Process] = []
        self.engines: list[Process] = []
        self.others: list[Process] = []
        self.dead: list[Process] = []
        self._driver: Process | None = None
        self._asking: psycopg.Connection[Any] | None = None
        self._answering = threading.Lock()
        self._numbers = iter(range(1, 10_000))
        # When other code sent which tasks (from, to), and when their Redis was killed; by a steady clock.
        self._sent: list[tuple[float, float, list[str]]] = []
        self._redis_killed: list[float] = []

    # --- Servers ---

    def open(self) -> None:
        """Start the servers and make the tables."""
        migrated = copy_seed(self.directory / "data")
        self.servers.start()
        if not migrated:
            self.run("manage.py", "migrate", "--verbosity", "0")
        with self.postgres() as connection:
            connection.execute(CREATE_TABLE)

    def close(self) -> None:
        """End everything and remove it."""
        for process in self._processes():
            process.kill()
        if self._asking:
            self._asking.close()
        self.servers.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @contextmanager
    def postgres(self) -> Iterator[psycopg.Connection[Any]]:
        """Yield a connection of the harness's own."""
        with psycopg.connect(self.servers.addresses.database_url, autocommit=True, connect_timeout=5) as connection:
            yield connection

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query, over a connection that is kept, because waiting asks again and again, until it is cut."""
        if self._asking is None or self._asking.closed:
            self._asking = psycopg.connect(self.servers.addresses.database_url, autocommit=True, connect_timeout=5)
        try:
            return self._asking.execute(statement, values).fetchall()
        except psycopg.OperationalError:
            if not self._asking.closed:
                raise
            # That was the server's end before; whether it is there again shows now.
            with self.postgres() as connection:
                return connection.execute(statement, values).fetchall()

    @cached_property
    def redis(self) -> redis.Redis:
        """A client of the harness's own, which connects anew where its connection was cut."""
        return redis.Redis.from_url(self.servers.addresses.redis_url, socket_timeout=10)

    def kill(self, *processes: Process) -> None:
        """Kill processes with their children; all others must survive the case."""
        for process in processes:
            process.kill()
            for among in (self.workers, self.engines, self.others):
                if process in among:
                    among.remove(process)
                    self.dead.append(process)

    def await_last_words(self, process: Process) -> None:
        """Wait until PostgreSQL has done what a killed process had asked: a COMMIT on its way is still carried out."""
        sessions = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
        assert eventually(lambda: not self.query(sessions, process.name), within=60)

    def end(self, process: Process) -> None:
        """Stop a process as a deployment does, and wait until it has ended by itself."""
        process.stop(within=90)
        for among in (self.workers, self.engines, self.others):
            if process in among:
                among.remove(process)
        self.dead.append(process)

    def kill_postgres(self) -> None:
        """End PostgreSQL as a power cut would, all its processes at once."""
        self.account.sent_twice = True
        assert self.servers.postgres
        pid = self.servers.postgres_pid
        assert pid
        for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        assert self.servers.postgres.process
        self.servers.postgres.process.wait(10)

    def kill_redis(self) -> None:
        """End Redis without a farewell."""
        kill_redis(self.servers)
        self._redis_killed.append(time.monotonic())
        self._doubt()

    def kill_servers(self) -> None:
        """End every server as a power cut would."""
        self.kill_redis()
        self.kill_postgres()

    def start_servers(self) -> None:
        """Start them again."""
        self.servers.start_postgres()
        self.servers.start_redis()

    def cut_connections(self) -> None:
        """Break every connection to Redis but the harness's own."""
        for kind in ("normal", "pubsub"):
            self.redis.client_kill_filter(_type=kind, skipme=True)

    @contextmanager
    def paused(self, pid: int | None) -> Iterator[None]:
        """Freeze a process and its children for the length of the block."""
        assert pid
        frozen = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for process in frozen:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            yield
        finally:
            for process in frozen:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    # --- Processes ---

    def begin(self, case: str, *, workers: int = 2, engines: int = 1) -> None:
        """Make everything ready for a case: no data, and that many undamaged processes."""
        self.recovery = Recovery(case)
        self.account = Account()
        self._sent.clear()
        self._redis_killed.clear()
        self._discard(self.others)
        self.dead.clear()
        for processes, wanted in ((self.workers, workers), (self.engines, engines)):
            kept = [process for process in processes if process.runs][:wanted]
            self._discard([process for process in processes if process not in kept])
            processes[:] = kept
        if self._driver and not self._driver.runs:
            self._driver = None
        self._wipe()
        missing = [self.launch_worker() for _ in range(workers - len(self.workers))]
        missing += [self.launch_engine() for _ in range(engines - len(self.engines))]
        self._drive()
        self.await_ready(*missing)

    def launch_worker(self, *modules: str, listed: bool = True, **changes: str) -> Process:
        """Start a worker of these modules' tasks besides MODULE's; its name is never used again."""
        name = f"w{next(self._numbers)}@faults"
        command = ("-m", "celery", "-A", self.app, "worker", "-n", name, "-c", "2", "-l", "WARNING", *self.worker_options)
        environment = self._worker_environment(",".join((MODULE, *modules)), **changes)
        return self._start(name, command, self.workers if listed else self.others, environment)

    def launch_engine(self, *options: str) -> Process:
        """Start an engine; one of a part only is not kept for the next case."""
        among = self.others if options else self.engines
        return self._start(f"engine{next(self._numbers)}", ("manage.py", "run_engine", *options), among)

    def launch_saboteur(self, part: str, nth: int = 1) -> Process:
        """Start a part of the engine that dies at its worst moment."""
        command = ("-m", "tests.faults.saboteur", part, str(nth))
        return self._start(f"saboteur{next(self._numbers)}", command, self.others)

    def launch_web(self) -> tuple[Process, int]:
        """Start a web process; return it and its port, once it answers."""
        self.run("manage.py", "prepare")
        port = free_port()
        command = ("-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "zenith_site.asgi:application")
        process = self._start(f"web{next(self._numbers)}", command, self.others)
        eventually(lambda: _answers(port), within=40)
        return process, port

    def await_ready(self, *processes: Process) -> None:
        """Wait until workers beat and engines read."""
        for process in processes:
            worker = "@" in process.name
            condition = self._beats if worker else self._reads
            eventually(lambda p=process, c=condition: c(p), within=60, but=lambda p=process: f"{p.name} waits:\n{p.output}")

    def run(self, *command: str) -> None:
        """Run a program to its end."""
        subprocess.run([sys.executable, *command], cwd=REPOSITORY, env=self._environment(), check=True, timeout=300)

    def _start(
        self, name: str, command: Sequence[str], among: list[Process], environment: Mapping[str, str] | None = None
    ) -> Process:
        environment = {**(environment or self._environment()), "PGAPPNAME": name}
        process = Process(name, list(command), self.logs / f"{name}.log", environment)
        among.append(process)
        return process

    def _worker_environment(self, modules: str, **changes: str) -> dict[str, str]:
        url = self.servers.addresses.worker_redis_url
        return self._environment(**{"ZENITH_TASK_MODULES": modules, "REDIS_URL": url, "DATABASE_URL": NOWHERE, **changes})

    def _environment(self, **changes: str) -> dict[str, str]:
        addresses = self.servers.addresses
        return {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "DATABASE_URL": addresses.database_url,
            # Workers have no database: the bodies' notes go to one that they know by another name.
            "NOTES_URL": addresses.database_url,
            "NOTES_APPLICATION": self.application,
            "REDIS_URL": addresses.redis_url,
            "ZENITH_DATA_DIR": str(self.directory / "data"),
            "ZENITH_ENV_FILE": os.devnull,
            "ZENITH_API_KEY": API_KEY,
            "ZENITH_RATE_LIMIT": "1000/1s",
            "ZENITH_TASK_MODULES": MODULE,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            **changes,
        }

    def _beats(self, process: Process) -> bool:
        assert process.runs, process.output
        with suppress(redis.RedisError):
            body = self.redis.get(application_keys(self.application).worker + process.name)
            return body is not None and json.loads(body)["pid"] == process.pid
        return False

    def _reads(self, process: Process) -> bool:
        assert process.runs, process.output
        with suppress(redis.RedisError):
            # Workers of another application read commands in the same way, as users of their own.
            return any((client["cmd"], client["user"]) == ("xreadgroup", "default") for client in self.redis.client_list())
        return False

    def _processes(self) -> Iterator[Process]:
        yield from [*self.dead, *self.workers, *self.engines, *self.others, *([self._driver] if self._driver else [])]

    def _discard(self, processes: list[Process]) -> None:
        for process in list(processes):
            process.signal(signal.SIGCONT)
            process.kill()
        processes.clear()

    def _wipe(self) -> None:
        empty(self._truncate)
        self.redis.flushall()

    def _truncate(self) -> None:
        with self.postgres() as connection, connection.transaction():
            connection.execute(GIVE_WAY)
            connection.execute(
                """TRUNCATE tasks_app_task, tasks_app_batch, tasks_app_minuterollup, django_celery_results_taskresult,
                fault_run CASCADE"""
            )

    # --- Load ---

    def ask(self, verb: str, **request: Any) -> Any:
        """Have the driver do something, and return its answer."""
        with self._answering:
            return answered(self._drive(), {"verb": verb, **request})

    def ask_sender(self, verb: str, **request: Any) -> Any:
        """Have other code do something that sends tasks with plain Celery, and return its answer."""
        return self.ask(verb, **request)

    def dispatch(self, task: str, count: int = 1, **asked: Any) -> list[str]:
        """Dispatch tasks; note and return their keys."""
        asked = {"key": uuid4().hex, "task": f"faults.{task}", "count": count, **self.asked, **asked}
        ids: list[str] = self.ask("dispatch", **asked)
        self.account.ids.update(ids)
        return ids

    def send(self, task: str, count: int = 1, **kwargs: Any) -> list[str]:
        """Send tasks as other code does; note their keys, and return those of the ones that were certainly sent."""
        began = time.monotonic()
        answer = self.ask_sender("send", name=f"faults.{task}", ids=[str(uuid4()) for _ in range(count)], kwargs=kwargs)
        sent = self.keys(answer["sent"])
        self._sent.append((began, time.monotonic(), sent))
        self.account.foreign.update(sent)
        self.account.unsure.update(self.keys(answer["unsure"]))
        self._doubt()
        return sent

    def canvas(self) -> None:
        """Send chords, and tasks that replace themselves or want no outcome; of all of them an end must be known."""
        answer = self.ask_sender("canvas", chords=2, parts=3, others={"faults.swap": 2, "faults.ignored": 2})
        self.account.foreign.update(self.keys(answer["sent"]))

    def keys(self, ids: Iterable[str]) -> list[str]:
        """Return the keys of tasks by their ids in Celery."""
        return [str(key_of(id_, self.application)) for id_ in ids]

    def _doubt(self) -> None:
        """Of tasks that other code sent just before Redis was killed nobody may know, unless they were recorded in time."""
        for killed in self._redis_killed:
            for began, ended, ids in self._sent:
                if began < killed < ended + REDIS_FORGETS:
                    self.account.foreign.difference_update(ids)
                    self.account.unsure.update(ids)

    def wave(self, *, canvas: bool = False) -> None:
        """Dispatch one wave of mixed tasks, in any order."""
        parts: list[Callable[[], object]] = [
            lambda: self.dispatch("short", WAVE["short"]),
            lambda: self.dispatch("long", WAVE["long"]),
            lambda: self.dispatch("flaky", WAVE["flaky"]),
            lambda: self.dispatch("hopeless", WAVE["hopeless"], max_retries=1),
            lambda: self.dispatch("short", WAVE["later"], delay=self.rng.uniform(0.5, 4)),
            lambda: self.send("short", WAVE["foreign"]),
            *([self.canvas] if canvas else []),
        ]
        self.rng.shuffle(parts)
        for part in parts:
            part()

    @contextmanager
    def load(self, waves: int = 3, *, canvas: bool = False) -> Iterator[None]:
        """Dispatch waves of mixed tasks while the block runs; the last one is dispatched by its end.

        With `canvas` there are chords and the like among them. Other code sends those: Redis must not lose what it had answered.
        """
        failed: list[BaseException] = []
        pauses = [self.rng.uniform(0, 0.7) for _ in range(waves)]

        def work() -> None:
            try:
                for pause in pauses:
                    self.wave(canvas=canvas)
                    time.sleep(pause)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            # Some of it is under way when the damage is done.
            time.sleep(self.rng.uniform(0.3, 1.5))
            yield
        finally:
            thread.join(PATIENCE)
        if failed:
            raise failed[0]

    def trigger(self, port: int, count: int) -> tuple[int, Any]:
        """Ask a web process for tasks; return the status and the body of its answer, or 0 where it gave none."""
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        with suppress(OSError, HTTPException):
            connection.request(
                "POST", "/tasks/trigger", json.dumps({"task": "faults.noop", "count": count, **self.asked}),
                {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"},
            )  # fmt: skip
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        return 0, None

    def wait(self, least: float, most: float) -> None:
        """Let some time pass: as much as chance has it."""
        time.sleep(self.rng.uniform(least, most))

    def _drive(self) -> Process:
        if self._driver is None or not self._driver.runs:
            name = f"driver{next(self._numbers)}"
            command = ["-m", "tests.faults.driver"]
            self._driver = Process(name, command, self.logs / f"{name}.log", self._environment(), pipes=True)
        return self._driver

    # --- The end ---

    @contextmanager
    def measured(self, what: str) -> Iterator[None]:
        """Note how long the block takes."""
        began = time.monotonic()
        yield
        self.recovery.seconds[what] = time.monotonic() - began

    def statuses(self, ids: Iterable[str]) -> Counter[str]:
        """Return how many of these tasks are in which status."""
        rows = self.query("SELECT status FROM tasks_app_task WHERE id = ANY(%s::uuid[])", list(ids))
        return Counter(status for (status,) in rows)

    def settle(self, within: float = PATIENCE) -> None:
        """Wait until everything has come to an end, and note how long that took."""
        with self.measured("settled"):
            eventually(self._is_over, within=within, but=lambda: f"{self._under_way()}\n{self.news()}")

    def check(self, *, reports_lost: bool = False, wrong_clocks: Sequence[str] = ()) -> None:
        """Check the accounting table.

        `reports_lost`: Redis lost what was not recorded yet, so a body may have run again. `wrong_clocks` names workers whose
        times mean nothing.
        """
        found = self.problems(reports_lost=reports_lost, wrong_clocks=wrong_clocks)
        found += [f"{process.name} ended" for process in [*self.workers, *self.engines] if not process.runs]
        assert not found, "\n".join([*found, self.news()])

    def problems(self, *, reports_lost: bool = False, wrong_clocks: Sequence[str] = ()) -> list[str]:
        """Return what does not hold of the accounting table."""
        with self.postgres() as connection:
            return problems(connection, self.account, left=self.left(), reports_lost=reports_lost, wrong_clocks=wrong_clocks)

    def left(self) -> dict[str, int]:
        """Return what has not been read or acknowledged, by what it is."""
        return {
            **self._entries(),
            "messages in the queue": self.redis.llen("default"),
            "messages of other priorities": sum(self.redis.llen(f"default\x06\x16{step}") for step in (3, 6, 9)),
            "unacknowledged messages": self.redis.hlen("unacked"),
            "unacknowledged messages by time": self.redis.zcard("unacked_index"),
            "messages with an owner": self.redis.hlen("zenith:taken"),
        }

    def news(self) -> str:
        """Return what the processes wrote since the last call."""
        parts = ((process.name, process.news(_without_tracebacks)) for process in self._processes())
        return "\n".join(f"--- {name}\n{text}" for name, text in parts if text)

    def _is_over(self) -> bool:
        with suppress(psycopg.OperationalError, redis.RedisError):
            return not self._under_way()
        return False

    def _under_way(self) -> dict[str, object]:
        account = self.account
        open_ = self.query(
            """SELECT id::text, name, status, position, worker FROM tasks_app_task
            WHERE status NOT IN ('SUCCESS', 'FAILURE', 'REVOKED', 'IGNORED') AND NOT (id = ANY(%s::uuid[])) LIMIT 10""",
            list(account.left),
        )
        known = {id_ for (id_,) in self.query("SELECT id::text FROM tasks_app_task")}
        missing = (account.ids if account.foreign_lost else account.ids | account.foreign) - known
        # What was set aside stays so, and an owner that outlives its message is found by `check`.
        left = {name: value for name, value in self.left().items() if not name.startswith(("entries set aside", "messages with"))}
        found = {"open": open_, "missing": sorted(missing)[:5], **left, "held": self._unacknowledged()}
        return {name: value for name, value in found.items() if value}

    def _entries(self) -> dict[str, int]:
        """Return how many entries nobody has read, or could read."""
        return {
            "entries in the stream": self.redis.xlen(application_keys(self.application).events),
            "entries set aside": self.redis.xlen(UNREADABLE),
        }

    def _unacknowledged(self) -> list[str]:
        """Return for each message at a worker its task, who took it, and who says in the newest heartbeat to hold it."""
        owners = self.redis.hgetall("zenith:taken")
        beats = [json.loads(beat) for key in self.redis.scan_iter("zenith:worker:*") if (beat := self.redis.get(key))]
        return [
            f"{tag.decode()}: {json.loads(body)[0]['headers']['id']} of {owners.get(tag)}, named by "
            f"{[beat['instance'] for beat in beats if tag.decode() in beat['tags']]}"
            for tag, body in self.redis.hgetall("unacked").items()
        ]


def kill_redis(servers: EmbeddedServers) -> None:
    """End a Redis without a farewell."""
    assert servers.redis
    assert servers.redis.process
    servers.redis.process.kill()
    servers.redis.process.wait(10)


def answered(process: Process, request: Mapping[str, Any]) -> Any:
    """Return what a process answers that reads a request a line; one that was killed has to be started again and asked again."""
    assert process.popen.stdin
    assert process.popen.stdout
    with suppress(BrokenPipeError):
        process.popen.stdin.write(json.dumps(request) + "\n")
        process.popen.stdin.flush()
    answer = process.popen.stdout.readline()
    assert answer, f"{process.name} ended:\n{process.output}"
    return json.loads(answer)


def _without_tracebacks(text: str) -> str:
    """Return the lines of a log that begin a message, but for the failures that are meant."""
    lines = [line for line in text.splitlines() if line and not line[0].isspace()]
    meant = ("HopelessError", "NotYetError", "Traceback")
    return "\n".join(line for line in lines if not any(text in line for text in meant))


def _answers(port: int) -> bool:
    with suppress(OSError, HTTPException):
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/login/")
        return connection.getresponse().status == 200
    return False
