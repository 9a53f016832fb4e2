"""`/ws/tasks?status=&task=&queue=`: a reader hears of what they asked for, and of nothing else."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.queries import feed
from tasks_app.queries.feed import FeedFilter
from tasks_app.recording import live
from tasks_app.recording.apply import apply
from tests.integration import test_live
from tests.integration.test_live import Open, ask, heard, ready, statuses, until_closed
from zenith_site.common.errors import InvalidQueryError
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)

module_web = test_live.module_web
port, token, opened = test_live.port, test_live.token, test_live.opened


def sent(task: str = "drill_sleep", queue: str = "nobodys", **kwargs: Any) -> str:
    """Dispatch a task to a queue that no worker serves; return its id."""
    kwargs = kwargs or {"seconds": 0.0}
    return str(dispatch(Dispatch(task=task, kwargs=kwargs, queue=queue), Origin(source="api")).ids[0])


def step(task_id: str, status: Status, attempt: int = 0) -> None:
    live.poke(apply([Event(task_id=task_id, status=status, at=time.time(), attempt=attempt, worker="w1")]))


def test_only_the_tasks_of_these_names_and_queues_are_heard_of(opened: Open) -> None:
    with opened("/ws/tasks?task=drill_sleep,drill_fail&queue=a&queue=b") as socket:
        ready(socket)
        sent("drill_sleep", "c")
        sent("analyze_text", "a", data="one")
        expected = {sent("drill_sleep", "a"): "QUEUED", sent("drill_fail", "b", times=0): "QUEUED"}
        statuses(socket, expected)


def test_a_status_selects_steps_so_that_one_which_has_passed_is_heard_of_too(opened: Open) -> None:
    task_id = sent()
    with opened("/ws/tasks?status=retry&status=FAILURE") as socket:
        ready(socket)
        with_steps = [(Status.STARTED, 0), (Status.RETRY, 0), (Status.STARTED, 1), (Status.SUCCESS, 1)]
        live.poke(apply([
            Event(task_id=task_id, status=status, at=time.time(), attempt=attempt, worker="w1") for status, attempt in with_steps
        ]))  # fmt: skip
        frame = heard(socket)
        assert [(task["task_id"], task["status"]) for task in frame["tasks"]] == [(task_id, "RETRY")]


def test_a_filter_holds_for_what_is_resumed_too(opened: Open) -> None:
    sent(queue="c")
    before = feed.newest_id()
    expected = {sent(queue="a"): "QUEUED"}
    sent(queue="c")
    with opened("/ws/tasks?queue=a") as socket:
        ask(socket, {"type": "RESUME", "after": before})
        statuses(socket, expected)


def test_who_hears_little_still_learns_how_far_the_events_are(opened: Open) -> None:
    with opened("/ws/tasks?queue=a") as socket:
        ready(socket)
        done = dispatch(Dispatch(task="drill_sleep", count=1200, kwargs={"seconds": 0.0}, queue="c"), Origin(source="api"))
        assert len(done.ids) == 1200
        frame = heard(socket)
        assert (frame["type"], frame["tasks"]) == ("TASK_UPDATE", [])
        (task_id,) = [sent(queue="a")]
        last = statuses(socket, {task_id: "QUEUED"})[-1]
        assert last["event_id"] == feed.newest_id() > frame["event_id"] >= 1000


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("status=DANCING", "status: 'DANCING' is not a status; statuses are SCHEDULED, "),
        ("status=SUCCESS,DANCING", "status: 'DANCING' is not a status"),
        ("state=SUCCESS", "state: is not a filter; filters are status, task, queue"),
        ("&".join(["task=a"] * 101), "at most 100 parameters"),
    ],
)
def test_a_filter_that_cannot_be_is_named_and_the_socket_closed_with_4400(opened: Open, query: str, says: str) -> None:
    with opened(f"/ws/tasks?{query}") as socket:
        frames, code = until_closed(socket)
    assert (len(frames), code) == (1, 4400)
    error = json.loads(frames[0])
    assert error["type"] == "ERROR"
    assert says in error["detail"]


def test_a_stranger_does_not_learn_what_a_filter_may_be(opened: Open) -> None:
    with opened("/ws/tasks?status=DANCING", headers={}) as socket:
        assert until_closed(socket) == ([], 4401)


@pytest.mark.parametrize(
    ("parameters", "accepted"),
    [
        ({}, "abcd"),
        ({"status": [""]}, "abcd"),
        ({"status": ["success"]}, "ac"),
        ({"status": ["SUCCESS", "failure"]}, "abc"),
        ({"status": ["SUCCESS, FAILURE"]}, "abc"),
        ({"task": ["t1"]}, "ab"),
        ({"task": ["t1"], "status": ["FAILURE"]}, "b"),
        ({"queue": ["q2"], "task": ["t2"]}, "cd"),
        ({"queue": ["Q2"]}, ""),
    ],
)
def test_what_a_filter_accepts(parameters: dict[str, list[str]], accepted: str) -> None:
    from datetime import UTC, datetime
    from uuid import UUID

    events = {
        name: feed.FeedEvent(1, UUID(int=1), task, queue, status, 0, "w", datetime.now(UTC))
        for name, task, queue, status in (
            ("a", "t1", "q1", "SUCCESS"), ("b", "t1", "q1", "FAILURE"), ("c", "t2", "q2", "SUCCESS"), ("d", "t2", "q2", "RETRY"),
        )
    }  # fmt: skip
    feed_filter = FeedFilter.of(parameters)
    assert "".join(name for name, event in events.items() if feed_filter.accepts(event)) == accepted


def test_every_culprit_of_a_filter_is_named() -> None:
    with pytest.raises(InvalidQueryError) as caught:
        FeedFilter.of({"status": ["A", "B"], "x": ["1"]})
    assert [problem.pointer for problem in caught.value.problems] == ["status", "status", "x"]
