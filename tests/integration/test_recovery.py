"""The guard `recovery` at an application's own broker, a database of another Redis with a key prefix or without."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import kombu
import pytest
import redis
from kombu.transport.redis import PrefixedStrictRedis
from kombu.transport.redis import Transport as KombuTransport

from zenith_worker import recovery, recovery_transport
from zenith_worker.buffer import Buffer
from zenith_worker.recovery import Broker, Recovery, _Repair, _WorkersMessages
from zenith_worker.recovery_transport import HOLDINGS, QoS, Transport, note_owners, why_unguarded
from zenith_worker.wire import claims, keys
from zenith_worker.wire.client import client
from zenith_worker.wire.held_messages import HeldMessages, Owner, run_script
from zenith_worker.wire.keys import application_keys
from zenith_worker.wire.recovery import DEATH_SETTLED_AFTER, FORGOTTEN_AFTER
from zenith_worker.wire.runs import RunNumber

#: Another database than Zenith's.
URL = os.environ["REDIS_URL"].removesuffix(urlsplit(os.environ["REDIS_URL"]).path) + "/11"
ONE, TWO = "1" * 32, "2" * 32
KEYS = keys.recovery_keys("shop")


class Clock:
    """A clock that moves when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class At:
    """A broker: what its workers hold there, and what waits."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.redis = redis.Redis.from_url(URL)
        self.clock = Clock()
        self.connections: list[kombu.Connection] = []

    def connect(self, *, notes: bool = True, **options: object) -> kombu.Connection:
        connection = kombu.Connection(
            URL, transport_options={"global_keyprefix": self.prefix, "visibility_timeout": 3600, **options}
        )
        self.connections.append(note_owners(connection) if notes else connection)
        return connection

    def send(self, queue: str = "mail", key: str | None = None, **options: Any) -> str:
        """Send a task's message by a sender that knows nothing of Zenith; return the task's id."""
        id_, key = str(uuid4()), f"to.{queue}" if key is None else key
        with self.connect(notes=False) as connection:
            exchange = kombu.Exchange("post", "direct")
            bound = kombu.Queue(queue, exchange, routing_key=key)
            kombu.Producer(connection).publish(
                [[], {}, {}],
                exchange=exchange,
                routing_key=key,
                declare=[bound],
                headers={"id": id_, "task": "t"},
                **options,
            )
        return id_

    def take(self, connection: kombu.Connection, queue: str = "mail") -> kombu.Message:
        """Take a message as a worker does, and do not acknowledge it."""
        taken: list[kombu.Message] = []
        bound = kombu.Queue(queue, kombu.Exchange("post", "direct"), routing_key=f"to.{queue}")
        with kombu.Consumer(connection.default_channel, [bound], on_message=taken.append):
            connection.default_channel.basic_qos(0, 1, False)
            while not taken:
                connection.drain_events(timeout=5)
        return taken[0]

    def lives(self, run: str) -> None:
        self.redis.set(self.prefix + KEYS.alive + run, "host", px=60_000)

    def held(self, connection: kombu.Connection) -> HeldMessages:
        return Broker.of(connection.default_channel).connect("shop")

    def kept(self) -> list[bytes]:
        """The keys beside queues and bindings: who holds what."""
        names = ("unacked", "unacked_index", KEYS.taken)
        return [name for name in map(bytes, self.redis.keys("*")) if name.decode().removeprefix(self.prefix) in names]

    def waiting(self, queue: str = "mail") -> list[dict[str, Any]]:
        return [json.loads(body) for body in reversed(self.redis.lrange(self.prefix + queue, 0, -1))]


@pytest.fixture(params=["", "shop:"])
def at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[At]:
    broker = At(request.param)
    broker.redis.flushdb()
    monkeypatch.setattr(keys._Own, "name", "shop")
    monkeypatch.setattr(Recovery, "_running", None)
    for of_tag in (HOLDINGS.notes, HOLDINGS.done, HOLDINGS.unrecorded):
        of_tag.clear()
    is_run(ONE, monkeypatch)
    yield broker
    for connection in broker.connections:
        # Nothing is to be put back at a test's end.
        broker.redis.flushdb()
        connection.release()
    broker.redis.flushdb()


def is_run(run: str, patch: pytest.MonkeyPatch) -> None:
    """Let this process be that run of a worker."""
    patch.setattr(recovery_transport, "instance", lambda: run)
    patch.setattr(recovery, "instance", lambda: run)


class Reports(Buffer):
    """Reports that stay here."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def add(self, *events: Any) -> None:
        self.events += events


def guard(kept: Callable[[], set[str]] = set, *, with_claims: bool = False) -> Recovery:
    made = Recovery("shop", Reports(), with_claims=with_claims)
    made.kept_tags = kept  # type: ignore[method-assign]
    return made


def look(at: At, what: Any, seconds: float) -> int:
    """Look again and again for so many seconds, as the guard's thread does; return how many messages went back."""
    until, count = at.clock.now + seconds, 0
    while at.clock.now <= until:
        count += what.run_once() or 0
        at.clock.now += 3
    return count


def of_dead(at: At, held: HeldMessages, worker: Recovery | None = None) -> _WorkersMessages:
    made = _WorkersMessages(worker or guard(), held)
    made._abandoned._clock = at.clock
    return made


def repair(at: At, worker: Recovery, held: HeldMessages) -> _Repair:
    made = _Repair(worker, held)
    made._forgotten._abandoned._clock = made._of_dead._abandoned._clock = at.clock
    return made


def test_what_a_dead_worker_held_goes_back_to_the_list_that_it_came_from(at: At) -> None:
    first, second = at.send(priority=4), at.send(priority=4)
    connection = at.connect()
    tag = at.take(connection).delivery_tag
    (note,) = at.redis.hvals(at.prefix + KEYS.taken)
    assert Owner.parse(note.decode())[::2] == (ONE, "mail\x06\x163")
    worker = guard()
    dead = of_dead(at, at.held(connection), worker)
    assert look(at, dead, 0) == 0, "one look is not enough to call a worker dead"
    assert look(at, dead, DEATH_SETTLED_AFTER + 3) == 1
    back = at.waiting("mail\x06\x163")
    assert [message["headers"]["id"] for message in back] == [first, second]
    assert (back[0]["properties"]["delivery_tag"], back[0]["properties"]["delivery_info"]["redelivered"]) == (tag, True)
    assert not at.kept()
    (event,) = worker.reports.events  # type: ignore[attr-defined]
    assert (event.task_id, event.status, event.delivery) == (first, "QUEUED", 1)


def test_a_message_that_was_routed_by_no_key_goes_back_as_well(at: At) -> None:
    id_ = at.send(key="")
    connection = at.connect()
    at.take(connection)
    assert look(at, of_dead(at, at.held(connection)), 2 * DEATH_SETTLED_AFTER) == 1
    assert [message["headers"]["id"] for message in at.waiting()] == [id_]


def test_a_living_worker_keeps_what_it_holds(at: At) -> None:
    at.send()
    connection = at.connect()
    at.take(connection)
    at.lives(ONE)
    assert look(at, of_dead(at, at.held(connection)), 60) == 0
    assert len(at.kept()) == 3


def test_what_a_worker_without_the_guard_took_since_is_never_touched(at: At) -> None:
    """Its visibility timeout was over while no worker had the guard, and the note of the dead one was left."""
    at.send()
    connection, other = at.connect(), at.connect(notes=False, unacked_restore_throttle=1)
    tag = at.take(connection).delivery_tag
    other.default_channel.qos.restore_by_tag(tag)
    assert at.take(other).delivery_tag == tag
    assert len(at.kept()) == 3
    assert look(at, of_dead(at, at.held(connection)), 60) == 0
    assert at.waiting() == []
    assert len(at.kept()) == 2, "kombu's own records"


@pytest.mark.parametrize("end", ["ack", "reject", "requeue"])
def test_a_message_that_is_done_leaves_no_note(at: At, end: str) -> None:
    at.send()
    getattr(at.take(at.connect()), end)()
    assert not at.kept()
    assert len(at.waiting()) == (end == "requeue")
    assert not HOLDINGS.notes


def test_what_a_closing_connection_puts_back_leaves_no_note(at: At) -> None:
    at.send()
    connection = at.connect()
    at.take(connection)
    connection.release()
    assert (at.kept(), len(at.waiting()), HOLDINGS.notes) == ([], 1, {})


def test_what_could_not_be_acknowledged_is_acknowledged_later_and_does_not_run_again(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    at.send()
    message = at.take(at.connect())
    with monkeypatch.context() as patch:
        patch.setattr(QoS, "_transact", refuse)
        with pytest.raises(redis.ConnectionError):
            message.ack()
    assert len(at.kept()) == 3
    assert look(at, repair(at, guard(), at.held(at.connect())), 0) == 0
    assert (at.kept(), at.waiting(), HOLDINGS.notes) == ([], [], {})


def test_a_task_that_outlives_its_connection_is_acknowledged_once_it_ends(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    at.send()
    connection = at.connect()
    message = at.take(connection)
    at.lives(ONE)
    with monkeypatch.context() as patch:
        # The connection broke, so that nothing could be put back.
        patch.setattr(QoS, "restore_unacked", lambda _: None)
        connection.release()
    assert len(at.kept()) == 3
    worker = repair(at, guard(lambda: {message.delivery_tag}), at.held(at.connect()))
    look(at, worker, 2 * FORGOTTEN_AFTER)
    assert len(at.kept()) == 3, "it still runs"
    message.ack()
    look(at, worker, 0)
    assert (at.kept(), at.waiting()) == ([], [])


def test_a_channel_that_lost_its_broker_before_it_was_closed_leaves_what_it_holds_to_the_guard(at: At) -> None:
    """The connection has forgotten its server by then, and kombu asks it for that."""
    _running, waiting = at.send(), at.send()
    connection = at.connect()
    message, other = at.take(connection), at.take(at.connect())
    for each in (message, other):
        each.channel.connection.client = None
    other.channel.qos.restore_unacked_once()
    message.ack()
    assert at.redis.hlen(at.prefix + "unacked") == 2
    look(at, repair(at, guard(), at.held(at.connect())), FORGOTTEN_AFTER + 3)
    assert ([body["headers"]["id"] for body in at.waiting()], at.kept()) == ([waiting], [])


def test_what_a_pool_of_threads_was_handed_is_kept_for_as_long_as_it_can_run(at: At) -> None:
    class Request:
        message = SimpleNamespace(delivery_tag="tag")

    request, worker = Request(), Recovery("shop", Reports(), with_claims=False)
    worker._consumer = SimpleNamespace(task_consumer=None)
    worker._note_handed_on(request)
    assert worker.kept_tags() == {"tag"}
    del request
    assert worker.kept_tags() == set()


def test_what_a_living_worker_forgot_goes_back(at: At) -> None:
    id_ = at.send()
    connection = at.connect()
    at.take(connection)
    at.lives(ONE)
    worker = guard()
    look(at, repair(at, worker, at.held(connection)), FORGOTTEN_AFTER + 3)
    assert [message["headers"]["id"] for message in at.waiting()] == [id_]
    assert (at.kept(), HOLDINGS.notes) == ([], {})
    assert [event.task_id for event in worker.reports.events] == [id_]  # type: ignore[attr-defined]


def refuse(*_: Any, **__: Any) -> Any:
    raise redis.ConnectionError("gone")


def test_what_redis_would_not_record_goes_back_once(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kombu has taken it from its queue by then, and would lose it."""
    id_ = at.send()
    with monkeypatch.context() as patch:
        patch.setattr(QoS, "_transact", refuse)
        with pytest.raises(redis.ConnectionError):
            at.take(at.connect())
    assert (at.kept(), at.waiting()) == ([], [])
    look(at, repair(at, guard(), at.held(at.connect())), 2 * FORGOTTEN_AFTER)
    assert [message["headers"]["id"] for message in at.waiting()] == [id_]


def test_a_worker_whose_notes_redis_refuses_takes_and_acknowledges_as_without_the_guard(
    at: At, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [at.send(), at.send()]
    at.redis.set(at.prefix + KEYS.taken, "a key of somebody else's")
    connection = at.connect()
    for id_ in ids:
        message = at.take(connection)
        assert message.headers["id"] == id_
        assert at.redis.hlen(at.prefix + "unacked") == 1
        message.ack()
    assert (at.redis.exists(at.prefix + "unacked"), at.waiting(), HOLDINGS.notes, HOLDINGS.done) == (0, [], {}, {})
    assert caplog.text.count("its note was refused") == 1


def test_one_worker_at_a_time_looks_for_dead_ones(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    at.send()
    connection = at.connect()
    at.take(connection)
    HOLDINGS.notes.clear()
    first = repair(at, guard(), at.held(connection))
    look(at, first, 0)
    is_run(TWO, monkeypatch)
    second = repair(at, guard(), at.held(connection))
    look(at, second, 60)
    assert len(at.kept()) == 3
    at.redis.delete(at.prefix + KEYS.lease)
    look(at, second, DEATH_SETTLED_AFTER + 3)
    assert len(at.waiting()) == 1


def test_what_is_no_message_is_left_to_kombu_and_stops_no_other(at: At) -> None:
    id_ = at.send()
    connection = at.connect()
    at.take(connection)
    for tag, value in (("odd", b"\xff"), ("list", b"[1, 2, 3]"), ("none", b"{}")):
        at.redis.hset(at.prefix + "unacked", tag, value)
        at.redis.zadd(at.prefix + "unacked_index", {tag: 5})
        at.redis.hset(at.prefix + KEYS.taken, tag, Owner(TWO, "5.0", "mail").note)
    at.redis.hset(at.prefix + KEYS.taken, "nobody", b"\xff\xff")
    assert look(at, of_dead(at, at.held(connection)), 2 * DEATH_SETTLED_AFTER) == 1
    assert [message["headers"]["id"] for message in at.waiting()] == [id_]
    assert at.redis.hlen(at.prefix + "unacked") == 3


def test_a_message_that_cannot_be_put_back_is_tried_again_and_logged_once(
    at: At, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    at.send()
    connection = at.connect()
    at.take(connection)
    dead = of_dead(at, at.held(connection))

    def full(*_: Any, **__: Any) -> Any:
        raise redis.ResponseError("OOM command not allowed")

    with monkeypatch.context() as patch:
        patch.setattr(HeldMessages, "put_back", full)
        assert look(at, dead, 5 * DEATH_SETTLED_AFTER) == 0
    assert caplog.text.count("cannot be put back at the moment") == 1
    assert look(at, dead, 3) == 1


def test_with_claims_those_of_dead_workers_are_let_go_once_zeniths_redis_can_be_reached(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = at.send()
    connection = at.connect()
    at.take(connection)
    worker = guard(with_claims=True)
    abandoned: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(claims, "abandon", refuse)
        assert look(at, of_dead(at, at.held(connection), worker), 2 * DEATH_SETTLED_AFTER) == 1
        with pytest.raises(redis.ConnectionError):
            worker.abandon_claims()
    monkeypatch.setattr(claims, "abandon", lambda *what: abandoned.append(what))
    monkeypatch.setattr(recovery, "count_lost", lambda *what: abandoned.append(what))
    worker.abandon_claims()
    worker.abandon_claims()
    assert abandoned == [(id_, RunNumber(), ONE), (id_, RunNumber())]


def test_with_claims_a_worker_that_lost_only_its_broker_keeps_its_tasks(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task still runs, and would run twice."""
    abandoned: list[Any] = []
    worker = guard(with_claims=True)
    monkeypatch.setattr(claims, "abandon", lambda *what: abandoned.append(what))
    alive = application_keys(worker.application).alive + ONE
    client().set(alive, "w@tests", ex=60)
    for wanted in ([], [("x", RunNumber(), ONE)]):
        worker.note_put_back("x", RunNumber(), ONE, "its worker died", dead=True)
        worker.abandon_claims()
        assert abandoned == wanted
        client().delete(alive)


def test_a_connection_that_fails_over_notes_owners_and_its_copies_do_not(at: At) -> None:
    connection = at.connect()
    assert why_unguarded(connection) == ""
    assert type(connection.clone().transport) is KombuTransport
    connection.switch(URL)
    assert type(connection.transport) is Transport
    assert connection.as_uri().startswith("redis://")
    if at.prefix:
        assert isinstance(connection.default_channel._create_client(), PrefixedStrictRedis)


@pytest.mark.parametrize(
    ("url", "options", "reason"),
    [
        ("sentinel://127.0.0.1:1", {}, "Redis Sentinel"),
        ("amqp://127.0.0.1:1", {}, "the broker itself delivers again"),
        ("memory://", {}, "with memory the broker decides"),
        (URL, {"ack_emulation": False}, "`ack_emulation` is off"),
    ],
    ids=["sentinel", "amqp", "memory", "redis"],
)
def test_a_broker_of_another_kind_is_left_alone_and_the_reason_said(url: str, options: dict[str, object], reason: str) -> None:
    connection = note_owners(kombu.Connection(url, transport_options=options))
    assert reason in why_unguarded(connection)
    connection.release()


def test_a_lease_is_of_one_at_a_time(at: At) -> None:
    asked = [run_script(at.redis, recovery._LEASE, "lease", who, 60_000) for who in (ONE, TWO, ONE)]
    assert asked == [1, 0, 1]
    assert 0 < at.redis.pttl("lease") <= 60_000
