"""Watching through whatever stands in front of a broker: TLS, users of least rights, a key prefix, Sentinel; and its outages."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from tasks_app.models import Task
from tasks_app.recording.recorder import Recorder
from tasks_app.watching import observed, observer_state, queue_state
from tasks_app.watching.applications import Watch, watch, why_unreachable
from tasks_app.watching.asking import Watched
from tasks_app.watching.brokers import Broker, broker_of
from tasks_app.watching.observer import Observer
from tasks_app.watching.reasons import RIGHTS
from tests.processes import REPOSITORY, exec_with_parent
from tests.rabbitmq import running
from tests.redis_server import RedisServer, redis_server
from tests.tls import tls
from tests.waiting import eventually
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.ids import key_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]

SECRET = "correct-horse"
#: A relay's own address; its server's is 127.0.0.1.
ELSEWHERE = "127.0.0.2"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short rounds, and an empty Redis."""
    monkeypatch.setattr("tasks_app.watching.asking.ROUND", 0.2)
    monkeypatch.setattr("tasks_app.watching.asking.ENABLE_EVERY", 0.5)
    monkeypatch.setattr("tasks_app.watching.asking.INSPECT_EVERY", 0.5)
    monkeypatch.setattr("tasks_app.watching.observer.BLOCK", 0.2)
    monkeypatch.setattr("tasks_app.watching.observer.LONGEST_PAUSE", 0.5)
    monkeypatch.setattr("tasks_app.watching.inspection.TIMEOUT", 0.5)
    redis_client().flushdb()


class Stub:
    """A worker that only tells and answers: Celery's own dispatcher of events, and kombu's own mailbox."""

    def __init__(self, url: str, **options: Any) -> None:
        self.app = Celery("shop", broker=url, set_as_current=False)
        self.app.conf.update(broker_transport_options={"socket_timeout": 5, "max_retries": 1, **options})
        self.asked: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._answer, daemon=True)

    def __enter__(self) -> Stub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)
        self.app.close()

    def tell(self, id_: str, worker: str = "shop@one") -> None:
        """Tell of a task that succeeded."""
        with self.app.connection_for_write() as broker, self.app.events.Dispatcher(broker, hostname=worker) as dispatcher:
            dispatcher.send("task-received", uuid=id_, name="shop.pay", args="(1,)", kwargs="{}", retries=0)
            dispatcher.send("task-started", uuid=id_)
            dispatcher.send("task-succeeded", uuid=id_, result="'paid'", runtime=0.5)

    def _answer(self) -> None:
        handlers = {
            "stats": lambda _: self._note("stats", {"pid": 7, "pool": {"max-concurrency": 3}}),
            "active_queues": lambda _: self._note("active_queues", [{"name": "tills"}]),
            "active": lambda _, **__: [], "reserved": lambda _: [], "scheduled": lambda _: [],
            "enable_events": lambda _: self._note("enable_events", {"ok": ""}), "heartbeat": lambda _: None,
            "ping": lambda _: None,
        }  # fmt: skip
        while not self._stop.is_set():
            with suppress(Exception), self.app.connection_for_read() as connection:
                node = self.app.control.mailbox.Node("shop@one", channel=connection.channel(), handlers=handlers)
                node.listen(callback=lambda body, message, node=node: node.handle_message(body, message))
                while not self._stop.is_set():
                    with suppress(TimeoutError):
                        connection.drain_events(timeout=0.1)

    def _note(self, question: str, answer: Any) -> Any:
        self.asked.add(question)
        return answer


@contextmanager
def observing(url: str, **more: Any) -> Iterator[Observer]:
    """Watch a broker; what is expected of whoever is allowed all that is needed."""
    row, _ = watch("shop", Watch(url=url, **more))
    here = Observer(Watched(row.pk, "shop", broker_of(row)))
    here.start()
    try:
        eventually(lambda: here.state.listens, but=lambda: here.state.reason)
        yield here
    finally:
        here.stop()


def record() -> bool:
    stream.ensure_group()
    recorder = Recorder(threading.Event())
    while recorder.step(block=0.02):
        pass
    return True


def assert_heard(here: Observer, worker: Stub, id_: str = "a") -> None:
    """Check that a task is recorded that a worker tells of from now on."""
    worker.tell(id_)
    eventually(
        lambda: record() and Task.objects.filter(id=key_of(id_, "shop"), status="SUCCESS").exists(), but=lambda: here.state.reason
    )


def assert_heard_and_asked(here: Observer, worker: Stub, *, but: str = "") -> None:
    """Check that all works that an observer does, but for what it says it may not do."""
    assert_heard(here, worker)
    eventually(lambda: any(beat.slots == 3 and beat.queues == ("tills",) for beat in heartbeat.read_all("shop")),
               but=lambda: (worker.asked, heartbeat.read_all("shop"), observer_state.read("shop")))  # fmt: skip
    eventually(lambda: "enable_events" in worker.asked)
    eventually(lambda: (state := observer_state.read("shop")) is not None and state.listens and state.reason == but,
               but=lambda: observer_state.read("shop"))  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as running_server:
        yield running_server


def documented(beginning: str) -> str:
    """Return the line of docs/watch.md that begins so."""
    lines = (REPOSITORY / "docs" / "watch.md").read_text().splitlines()
    [line] = [line for line in lines if line.startswith(beginning)]
    return line


def denials(server: RedisServer) -> list[str]:
    """Return the commands and the keys that the user was refused."""
    return [entry["object"] for entry in server.admin.acl_log() if entry["username"] == "zenith"]


def test_redis_with_tls_and_a_private_authority(server: RedisServer, tmp_path: Path) -> None:
    with tls(tmp_path, server.port) as (port, authority), Stub(server.url()) as worker:
        url = f"rediss://localhost:{port}/0"
        assert "certificate is not trusted" in why_unreachable(Broker(url))
        # It is a certificate of another host.
        assert "certificate is not trusted" in why_unreachable(Broker(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority}"))
        assert why_unreachable(Broker(f"{url}?ssl_cert_reqs=none")) == ""
        with observing(f"{url}?ssl_ca_certs={authority}") as here:
            assert_heard_and_asked(here, worker)


def test_a_redis_user_needs_no_more_than_the_documented_rights(server: RedisServer) -> None:
    rule = documented("ACL SETUSER zenith on").replace("PASSWORD", SECRET)
    server.admin.execute_command(*rule.split())
    with Stub(server.url()) as worker, observing(server.url(f"zenith:{SECRET}")) as here:
        assert_heard_and_asked(here, worker, but=f"its queues cannot be measured: {RIGHTS}")
        # What it may not do without is what it looks at beyond that.
        looks = {"scan", "srandmember", "info", "config", "config|get"}
        assert {denied for denied in denials(server) if "tills" not in denied} <= looks
        # The application's own keys stay out of its reach.
        with redis.Redis(port=server.port, username="zenith", password=SECRET) as intruder:
            for command in (("RPOP", "celery"), ("DEL", "celery"), ("FLUSHDB",), ("KEYS", "*")):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    intruder.execute_command(*command)
    more = documented("ACL SETUSER zenith %R")
    if int(server.admin.info("server")["redis_version"].partition(".")[0]) < 7:
        more = more.replace("%R~*", "~*").replace("config|get", "config")
    server.admin.execute_command(*more.split())
    server.admin.acl_log_reset()
    with Stub(server.url()) as worker, observing(server.url(f"zenith:{SECRET}")) as here:
        assert_heard_and_asked(here, worker)
        eventually(lambda: (queue := queue_state.read("shop").get("tills")) is not None and queue.depth == 0)
        eventually(lambda: (found := observed.read("shop").redis) is not None and not found.refused)
        assert denials(server) == []
    server.admin.execute_command("ACL", "SETUSER", "zenith", "-psubscribe")
    assert "may not do what" in why_unreachable(Broker(server.url(f"zenith:{SECRET}")))


def test_redis_with_a_key_prefix(server: RedisServer) -> None:
    with Stub(server.url(), global_keyprefix="tills:") as worker, observing(server.url(), key_prefix="tills:") as here:
        assert_heard_and_asked(here, worker)
        assert {key[:6] for key in server.admin.scan_iter()} <= {b"tills:"}


def is_master(server: RedisServer) -> bool:
    """Whether it says so; one that becomes the master drops its connections."""
    with suppress(redis.ConnectionError):
        return bool(server.admin.info("replication")["role"] == "master")
    return False


def test_through_sentinel_also_after_its_master_has_failed(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path / "one") as one,
        redis_server(tmp_path / "two", f"replicaof 127.0.0.1 {one.port}") as two,
        redis_server(
            tmp_path / "sentinel", f"sentinel monitor main 127.0.0.1 {one.port} 1", "sentinel down-after-milliseconds main 500",
            "sentinel failover-timeout main 1000", sentinel=True,
        ) as sentinel,
    ):  # fmt: skip
        eventually(lambda: two.admin.info("replication")["master_link_status"] == "up")
        eventually(lambda: sentinel.admin.execute_command("SENTINEL", "REPLICAS", "main"))
        url = f"sentinel://127.0.0.1:{sentinel.port}/0"
        assert "knows no master of this name" in why_unreachable(Broker(f"{url}?master_name=other"))
        with Stub(url, master_name="main") as worker, observing(f"{url}?master_name=main") as here:
            assert_heard_and_asked(here, worker)
            lost_at = time.time()
            one.stop()
            eventually(lambda: is_master(two), within=40)
            eventually(lambda: here.state.listens and here.state.since > lost_at, within=40, but=lambda: here.state)
            assert_heard(here, worker, "b")
            [gap] = here.take_gaps()
            assert lost_at - 1 < gap.start < gap.end


def test_a_broker_that_is_restarted_is_heard_again_and_the_gap_is_told(server: RedisServer) -> None:
    with Stub(server.url()) as worker, observing(server.url()) as here:
        assert_heard(here, worker)
        stopped_at = time.time()
        server.stop()
        eventually(lambda: not here.state.listens)
        server.start()
        server.wait()
        started_at = time.time()
        eventually(lambda: here.state.listens, but=lambda: here.state)
        assert_heard(here, worker, "b")
        worker.asked.clear()
        assert_heard_and_asked(here, worker)
        [gap] = here.take_gaps()
        assert stopped_at - 1 < gap.start <= started_at <= gap.end
        assert gap.reason in {"the connection was lost", "nothing listens at its host and port"}


def test_a_password_that_is_changed_is_named_and_the_new_one_is_used_from_then_on(server: RedisServer) -> None:
    server.admin.execute_command(*documented("ACL SETUSER zenith on").replace("PASSWORD", SECRET).split())
    with Stub(server.url()) as worker, observing(server.url(f"zenith:{SECRET}")) as here:
        assert_heard(here, worker)
        server.admin.execute_command("ACL", "SETUSER", "zenith", "resetpass", ">another")
        server.admin.execute_command("CLIENT", "KILL", "USER", "zenith")
        eventually(lambda: not here.state.listens and "refuses the user or the password" in here.state.reason,
                   but=lambda: here.state)  # fmt: skip
        # As the engine's part does with the new URL.
        here.watched = Watched(here.watched.id, "shop", Broker(server.url("zenith:another")))
        eventually(lambda: here.state.listens, but=lambda: here.state)
        assert_heard(here, worker, "b")


def test_rabbitmq_with_a_user_of_the_documented_rights_also_after_its_connection_was_lost(tmp_path: Path) -> None:
    rule = documented("rabbitmqctl set_permissions -p VHOST zenith ")
    configure, write, read = rule.split("'")[1::2]
    rights = {"zenith": (configure, write, read), "deaf": (configure, write, "^$")}
    with running(tmp_path / "rabbitmq", rights) as rabbitmq, Stub(rabbitmq.url("one")) as worker:
        assert "may not do what" in why_unreachable(Broker(rabbitmq.url("one", "deaf")))
        assert "refuses the user or the password" in why_unreachable(Broker(rabbitmq.url("one", "nobody")))
        relay = _relay(rabbitmq.port)
        with observing(rabbitmq.url("one", "zenith", ELSEWHERE)) as here:
            assert_heard_and_asked(here, worker)
            lost_at = time.time()
            _end(relay)
            eventually(lambda: not here.state.listens)
            relay = _relay(rabbitmq.port)
            eventually(lambda: here.state.listens, but=lambda: here.state)
            assert_heard(here, worker, "b")
            [gap] = here.take_gaps()
            assert lost_at - 1 < gap.start < gap.end
        _end(relay)


def _relay(port: int) -> subprocess.Popen[bytes]:
    command = exec_with_parent(sys.executable, "-m", "tests.docker.relay", ELSEWHERE, str(port))
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
