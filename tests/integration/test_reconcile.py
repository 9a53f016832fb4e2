"""The reconciler: what is lost is found, what only moves is left alone, and nothing is put back twice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tasks_app.dispatch import reconciler_loop
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.resend import resend
from tasks_app.maintenance.reconciler import (
    ENDED_SETTLED_AFTER,
    LISTING_EVERY,
    SETTLED_AFTER,
    HeldMessageRecovery,
    LostTaskSearch,
)
from tasks_app.models import Task
from tasks_app.recording.apply import apply
from tests.broker import messages
from tests.waiting import eventually
from zenith_site.common.advisory_locks import AdvisoryLock, try_advisory_lock
from zenith_worker.wire import claims, heartbeat, held_messages, keys, stream
from zenith_worker.wire.events import Event, decode, encode
from zenith_worker.wire.keys import CLAIM, TAKEN
from zenith_worker.wire.recovery import DEATH_SETTLED_AFTER, FORGOTTEN_AFTER, LATE
from zenith_worker.wire.runs import RunNumber
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

PASS = 3.0


class Clock:
    """A steady clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def sent(count: int = 1, queue: str = "default") -> list[str]:
    """The ids of some tasks on the broker."""
    done = dispatch(Dispatch(task="analyze_text", data="x", count=count, queue=queue), Origin(source="api"))
    return [str(id_) for id_ in done.ids]


def loses(*task_ids: str) -> None:
    """Make the broker lose the messages of some tasks."""
    for task_id in task_ids:
        for body in stream.client().lrange("default", 0, -1):
            if task_id in body.decode():
                stream.client().lrem("default", 1, body)


def moves(task_id: str, status: Status, **more: object) -> None:
    """Record a step of a task."""
    apply([Event(task_id=task_id, status=status, at=time.time(), **more)])  # type: ignore[arg-type]


def taken(owner: str, *, beats: bool = False, names: bool = False) -> str:
    """Have a worker take the next message, as kombu and transport.py note it; return its delivery tag."""
    redis = stream.client()
    body = redis.rpop("default")
    assert body is not None
    tag = str(json.loads(body)["properties"]["delivery_tag"])
    redis.hset(keys.UNACKED, tag, json.dumps([json.loads(body), "", "default"]))
    redis.zadd(keys.UNACKED_INDEX, {tag: time.time()})
    redis.hset(TAKEN, tag, owner)
    if beats:
        beat(owner, tags=[tag] if names else [])
    return tag


def beat(owner: str, tags: list[str] | None = None, held: list[str] | None = None) -> None:
    """Write a worker's heartbeat."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heartbeat, "instance", lambda: owner)
        heartbeat.write(f"{owner}@tests", slots=1, busy=0, queues=["default"], held=held or [], tags=tags or [])


def looks(what: LostTaskSearch | HeldMessageRecovery, clock: Clock, seconds: float, step: float = PASS) -> list[object]:
    """Look again and again for so long, as passes do; return what each look found."""
    until, found = clock.now + seconds, []
    while clock.now <= until:
        found.append(what.run_once())
        clock.now += step
    return found


def lost_after(clock: Clock, seconds: float) -> set[str]:
    """The ids that a new searcher takes for lost after so many seconds."""
    return {task.id for found in looks(LostTaskSearch(clock), clock, seconds) for task in found}  # type: ignore[attr-defined]


# --- Finding what is lost ---


def test_a_queued_task_without_a_message_is_lost_after_a_while_and_no_other(clock: Clock) -> None:
    here, gone = sent(2)
    loses(gone)
    assert lost_after(clock, SETTLED_AFTER + LISTING_EVERY) == {gone}
    assert here != gone


def test_missed_once_is_not_lost(clock: Clock) -> None:
    (task_id,) = sent()
    loses(task_id)
    assert lost_after(clock, SETTLED_AFTER - PASS) == set()


def test_a_task_whose_row_changes_between_two_looks_is_not_lost(clock: Clock) -> None:
    (task_id,) = sent()
    loses(task_id)
    searcher = LostTaskSearch(clock)
    looks(searcher, clock, SETTLED_AFTER - PASS)
    moves(task_id, Status.RECEIVED, worker="w")
    assert not any(looks(searcher, clock, SETTLED_AFTER - PASS))
    assert any(looks(searcher, clock, 3 * PASS))


def test_a_task_that_appears_again_is_not_lost(clock: Clock) -> None:
    (task_id,) = sent()
    (body,) = stream.client().lrange("default", 0, -1)
    stream.client().delete("default")
    searcher = LostTaskSearch(clock)
    looks(searcher, clock, SETTLED_AFTER - PASS)
    stream.client().lpush("default", body)
    searcher.run_once()
    stream.client().delete("default")
    assert not any(looks(searcher, clock, SETTLED_AFTER - PASS))
    assert Task.objects.get(id=task_id).status == "QUEUED"


def test_nothing_is_concluded_while_recorders_lag(clock: Clock) -> None:
    (task_id,) = sent()
    loses(task_id)
    entry = f"{int(time.time() * 1000) - 60_000}-0"
    stream.client().xadd(keys.EVENTS, {"e": encode([])}, id=entry)
    searcher = LostTaskSearch(clock)
    assert not any(looks(searcher, clock, 3 * SETTLED_AFTER))
    stream.client().delete(keys.EVENTS)
    assert not any(looks(searcher, clock, SETTLED_AFTER - PASS))
    assert any(looks(searcher, clock, LISTING_EVERY + PASS))


def test_nothing_is_concluded_from_looks_with_an_outage_between(clock: Clock) -> None:
    """When Redis comes back no worker beats yet."""
    (task_id,) = sent()
    loses(task_id)
    moves(task_id, Status.STARTED, worker="w")
    searcher = LostTaskSearch(clock)
    searcher.run_once()
    clock.now += max(LATE, SETTLED_AFTER) + 1
    assert searcher.run_once() == []


@pytest.mark.parametrize("status", [Status.RECEIVED, Status.STARTED])
def test_a_task_that_a_worker_should_hold_and_nobody_holds_is_lost(clock: Clock, status: Status) -> None:
    (task_id,) = sent()
    loses(task_id)
    moves(task_id, status, worker="w")
    assert lost_after(clock, SETTLED_AFTER + PASS) == {task_id}


def test_a_task_that_a_living_worker_names_is_not_lost(clock: Clock) -> None:
    (task_id,) = sent()
    loses(task_id)
    moves(task_id, Status.STARTED, worker="w")
    beat("one", held=[task_id])
    assert lost_after(clock, 2 * SETTLED_AFTER) == set()


def test_a_task_whose_message_is_unacknowledged_is_not_lost(clock: Clock) -> None:
    (task_id,) = sent()
    taken("one", beats=True, names=True)
    moves(task_id, Status.RECEIVED, worker="w")
    assert lost_after(clock, 2 * SETTLED_AFTER) == set()


def test_a_task_that_reported_its_end_is_not_lost(clock: Clock) -> None:
    (task_id,) = sent()
    loses(task_id)
    moves(task_id, Status.STARTED, worker="w")
    stream.client().set(CLAIM + task_id, "E|0|||0|0")
    assert lost_after(clock, 2 * SETTLED_AFTER) == set()


def test_a_retry_is_lost_when_it_is_overdue_and_not_before(clock: Clock) -> None:
    due, later = sent(2)
    loses(due, later)
    now = time.time()
    moves(due, Status.RETRY, not_before=now - SETTLED_AFTER - 5)
    moves(later, Status.RETRY, not_before=now + 60)
    assert lost_after(clock, SETTLED_AFTER + PASS) == {due}


def test_tasks_that_have_no_message_yet_are_not_lost(clock: Clock) -> None:
    ids = sent(2)
    loses(*ids)
    Task.objects.filter(id=ids[0]).update(status="PENDING")
    Task.objects.filter(id=ids[1]).update(status="SCHEDULED")
    assert lost_after(clock, 2 * SETTLED_AFTER) == set()


def test_messages_are_found_on_every_priority_and_queue(clock: Clock) -> None:
    for priority in (None, 0, 3, 5, 9):
        dispatch(Dispatch(task="analyze_text", data="x", priority=priority), Origin(source="api"))
    sent(3, queue="reports")
    assert lost_after(clock, 3 * SETTLED_AFTER) == set()


# --- Sending again ---


def test_what_is_lost_is_sent_again_once_with_the_reason_on_its_timeline(clock: Clock) -> None:
    (task_id,) = sent()
    loses(task_id)
    searcher = LostTaskSearch(clock)
    lost = [task for found in looks(searcher, clock, SETTLED_AFTER + LISTING_EVERY) for task in found]  # type: ignore[attr-defined]
    assert resend(lost[:1]) == 1
    (message,) = messages()
    assert (message.id, message.headers["retries"], message.properties["delivery_info"]["redelivered"]) == (task_id, 0, True)
    (entry,) = stream.client().xrange(keys.EVENTS)
    (event,) = decode(entry[1][b"e"])
    assert (event.status, event.delivery) == (Status.QUEUED, 1)
    assert "its message was lost" in event.message


def test_what_changed_since_it_was_found_is_not_sent_again(clock: Clock) -> None:
    (task_id,) = sent()
    loses(task_id)
    lost = [task for found in looks(LostTaskSearch(clock), clock, SETTLED_AFTER + LISTING_EVERY) for task in found]  # type: ignore[attr-defined]
    moves(task_id, Status.STARTED, worker="w")
    assert resend(lost[:1]) == 0
    assert messages() == []


def test_what_was_put_back_since_it_was_found_is_not_sent_again(clock: Clock) -> None:
    (task_id,) = sent()
    loses(task_id)
    lost = [task for found in looks(LostTaskSearch(clock), clock, SETTLED_AFTER + LISTING_EVERY) for task in found]  # type: ignore[attr-defined]
    # QUEUED as before, by a later delivery, whose message is somebody else's to send.
    moves(task_id, Status.QUEUED, delivery=1)
    assert resend(lost[:1]) == 0
    assert messages() == []


def test_a_lost_retry_is_sent_as_the_next_attempt(clock: Clock) -> None:
    (task_id,) = sent()
    loses(task_id)
    moves(task_id, Status.RETRY, not_before=time.time() - SETTLED_AFTER - 5)
    lost = [task for found in looks(LostTaskSearch(clock), clock, SETTLED_AFTER + PASS) for task in found]  # type: ignore[attr-defined]
    resend(lost[:1])
    assert [message.headers["retries"] for message in messages()] == [1]


def test_a_task_is_sent_as_its_next_attempt_where_the_last_one_reported_its_failure(clock: Clock) -> None:
    """Its row can be behind: put back after the report, by a worker that died before its acknowledgement."""
    (task_id,) = sent()
    loses(task_id)
    stream.client().set(CLAIM + task_id, "W|0|||0|0")
    lost = [task for found in looks(LostTaskSearch(clock), clock, SETTLED_AFTER + LISTING_EVERY) for task in found]  # type: ignore[attr-defined]
    resend(lost[:1])
    assert [message.headers["retries"] for message in messages()] == [1]


# --- Putting back ---


def test_the_message_of_a_dead_worker_goes_back_to_the_head_of_its_queue_once(clock: Clock) -> None:
    first, second = sent(2)
    taken("one")
    recoverer = HeldMessageRecovery(clock)
    assert sum(looks(recoverer, clock, DEATH_SETTLED_AFTER + 3 * PASS)) == 1  # type: ignore[arg-type]
    assert [message.id for message in messages()] == [first, second]
    assert messages()[0].properties["delivery_info"]["redelivered"] is True
    for key in (keys.UNACKED, keys.UNACKED_INDEX, TAKEN):
        assert not stream.client().exists(key)


def test_one_look_is_not_enough_to_call_a_worker_dead(clock: Clock) -> None:
    """Redis may have been away: then every heartbeat is over, for a moment."""
    sent()
    tag = taken("one")
    recoverer = HeldMessageRecovery(clock)
    recoverer.run_once()
    beat("one", tags=[tag])
    assert sum(looks(recoverer, clock, 30)) == 0  # type: ignore[arg-type]


def test_a_look_after_an_outage_begins_anew(clock: Clock) -> None:
    sent()
    taken("one")
    recoverer = HeldMessageRecovery(clock)
    recoverer.run_once()
    clock.now += LATE + 1
    assert recoverer.run_once() == 0


def test_a_living_worker_keeps_what_it_names(clock: Clock) -> None:
    sent()
    taken("one", beats=True, names=True)
    assert sum(looks(HeldMessageRecovery(clock), clock, 3 * FORGOTTEN_AFTER)) == 0  # type: ignore[arg-type]
    assert messages() == []


def test_a_living_worker_loses_what_it_forgot(clock: Clock) -> None:
    """Its connection broke, and with it what it had reserved."""
    (task_id,) = sent()
    taken("one", beats=True, names=False)
    recoverer = HeldMessageRecovery(clock)
    assert sum(looks(recoverer, clock, FORGOTTEN_AFTER - PASS)) == 0  # type: ignore[arg-type]
    assert sum(looks(recoverer, clock, 3 * PASS)) == 1  # type: ignore[arg-type]
    assert [message.id for message in messages()] == [task_id]


def test_what_a_living_worker_goes_on_holding_of_an_ended_task_is_dropped(clock: Clock) -> None:
    """An acknowledgement that never comes: the worker names the message for ever, and it takes one of its places."""
    (task_id,) = sent()
    tag = taken("one", beats=True, names=True)
    recoverer = HeldMessageRecovery(clock)
    looks(recoverer, clock, ENDED_SETTLED_AFTER + PASS)
    assert stream.client().hexists(keys.UNACKED, tag), "its task has not ended"
    stream.client().set(CLAIM + task_id, "E|0|||0|0")
    looks(recoverer, clock, ENDED_SETTLED_AFTER - PASS)
    assert stream.client().hexists(keys.UNACKED, tag), "it may still be acknowledged"
    beat("one", tags=[tag])
    looks(recoverer, clock, 3 * PASS)
    assert not stream.client().exists(keys.UNACKED, keys.UNACKED_INDEX, TAKEN)
    assert messages() == []


def test_a_retry_whose_message_waits_in_a_long_queue_is_not_lost(clock: Clock) -> None:
    here, gone = sent(2)
    for task_id in (here, gone):
        moves(task_id, Status.RETRY, not_before=time.time() - SETTLED_AFTER - 5)
    loses(gone)
    assert lost_after(clock, SETTLED_AFTER + 2 * LISTING_EVERY) == {gone}


@pytest.mark.parametrize("claim", ["E|0|||0|0", "W|0|||0|0", "R|1|two|t|1|0"])
def test_a_message_that_only_was_not_acknowledged_is_dropped(clock: Clock, claim: str) -> None:
    (task_id,) = sent()
    taken("one")
    stream.client().set(CLAIM + task_id, claim)
    assert sum(looks(HeldMessageRecovery(clock), clock, DEATH_SETTLED_AFTER + PASS)) == 0  # type: ignore[arg-type]
    assert messages() == []
    assert not stream.client().exists(keys.UNACKED, keys.UNACKED_INDEX, TAKEN)


def test_the_cancelled_message_of_a_dead_worker_goes_back_and_is_refused_by_the_next(clock: Clock) -> None:
    (task_id,) = sent()
    taken("one")
    claims.cancel(task_id)
    assert sum(looks(HeldMessageRecovery(clock), clock, DEATH_SETTLED_AFTER + PASS)) == 1  # type: ignore[arg-type]
    assert claims.begin(task_id, run=RunNumber(), token="t").verdict == claims.Verdict.CANCELLED


def test_a_message_that_another_worker_took_since_stays_there(clock: Clock) -> None:
    sent()
    tag = taken("one")
    assert held_messages.NATIVE.put_back(tag, "two") is None
    assert messages() == []


def test_the_pass_of_two_engines_is_made_by_one_of_them() -> None:
    with _lock_of_another_engine():
        assert not _is_alone()
    # The server notices after us that the other's connection is closed.
    eventually(_is_alone)


def test_an_engine_that_is_not_alone_repairs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, passes = threading.Event(), []

    @contextmanager
    def refused(lock: int) -> Iterator[bool]:
        assert lock == AdvisoryLock.RECONCILER
        yield False
        stop.set()

    monkeypatch.setattr(reconciler_loop, "try_advisory_lock", refused)
    monkeypatch.setattr(reconciler_loop, "reconcile", lambda *_: passes.append(1))
    reconciler_loop.run(stop)
    assert passes == []


def _is_alone() -> bool:
    with try_advisory_lock(AdvisoryLock.RECONCILER) as is_alone:
        return is_alone


@contextmanager
def _lock_of_another_engine() -> Iterator[None]:
    import psycopg
    from django.db import connection

    with psycopg.connect(**_parameters(connection.get_connection_params())) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [AdvisoryLock.RECONCILER])
        yield


def _parameters(found: dict[str, object]) -> dict[str, object]:
    return {name: found[name] for name in ("dbname", "user", "password", "host", "port") if name in found}
