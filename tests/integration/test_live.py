"""The sockets of a real web process: what happens arrives, nothing is missed across a break, and a burst is few frames."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import Task, TaskEvent
from tasks_app.queries import feed
from tasks_app.recording import live
from tasks_app.recording.apply import apply
from tasks_app.web.consumers import OUTCOMES_EVERY
from tasks_app.web.throttle import Throttle
from tests import stack as stacks
from tests.processes import free_port
from tests.stack import Stack
from zenith_site.common import live_updates
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.test import Client

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 15
Open = Callable[..., AbstractContextManager[ClientConnection]]


@pytest.fixture(scope="module")
def module_web(module_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, int]]:
    for stack in stacks.running(tmp_path_factory.mktemp("live")):
        port = free_port()
        # One test is a client that reads nothing and so answers no ping, on a busy machine for longer than daphne bears.
        stack.web(port, "web", "--ping-timeout", "600")
        yield stack, port


@pytest.fixture
def port(module_web: tuple[Stack, int], transactional_db: None) -> Iterator[int]:
    """Where the web process listens; there is no worker and no engine behind it."""
    stack, port = module_web
    stack.news()
    yield port
    print(stack.news())  # noqa: T201 (pytest shows it for a failed test only)


@pytest.fixture
def token(admin: User) -> str:
    from zenith_site.auth.tokens import create_token

    return create_token(admin, "test", ["read"])[1]


@pytest.fixture
def opened(port: int, token: str) -> Open:
    """Opens `/ws/tasks` (or another path) with a token, or with other headers."""

    def open_(path: str = "/ws/tasks", headers: dict[str, str] | None = None) -> AbstractContextManager[ClientConnection]:
        request_headers = {"X-API-Key": token} if headers is None else headers
        return connect(f"ws://127.0.0.1:{port}{path}", additional_headers=request_headers, max_size=None)

    return open_


def sleeps(count: int = 1) -> list[str]:
    """Dispatch tasks, which nobody runs; return their ids."""
    done = dispatch(Dispatch(task="drill_sleep", count=count, kwargs={"seconds": 0.0}), Origin(source="api"))
    return [str(task_id) for task_id in done.ids]


def heard(socket: ClientConnection) -> Any:
    """The next frame."""
    return json.loads(socket.recv(SECONDS))


def ask(socket: ClientConnection, frame: object) -> None:
    socket.send(json.dumps(frame))


def ready(socket: ClientConnection) -> ClientConnection:
    """The same socket, once the server follows the events for it."""
    ask(socket, {"type": "PING"})
    assert heard(socket) == {"type": "PONG"}
    return socket


def statuses(socket: ClientConnection, expected: dict[str, str]) -> list[dict[str, Any]]:
    """Read TASK_UPDATE frames until these tasks have these statuses; return the frames."""
    latest: dict[str, str] = {}
    frames = []
    while latest != expected:
        frame = heard(socket)
        assert frame["type"] == "TASK_UPDATE", frame
        frames.append(frame)
        latest |= {task["task_id"]: task["status"] for task in frame["tasks"]}
        assert latest.keys() <= expected.keys()
    return frames


def until_closed(socket: ClientConnection) -> tuple[list[str | bytes], int]:
    """Return the frames that come until the server closes, and its code."""
    frames: list[str | bytes] = []
    try:
        while True:
            frames.append(socket.recv(SECONDS))
    except ConnectionClosed as closed:
        return frames, closed.rcvd.code if closed.rcvd else 1006


def close_code(socket: ClientConnection) -> int:
    """The code with which the server closes."""
    return until_closed(socket)[1]


# --- Who may listen ---


@pytest.mark.parametrize("path", ["/ws/tasks", "/ws/page", "/ws/page/overview"])
@pytest.mark.parametrize(
    "headers", [{}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}], ids=["nothing", "key", "bearer"]
)
def test_a_stranger_is_closed_with_4401(opened: Open, path: str, headers: dict[str, str]) -> None:
    with opened(path, headers=headers) as socket:
        assert close_code(socket) == 4401


def test_a_stranger_learns_nothing_however_fast_they_ask(opened: Open) -> None:
    with opened(headers={}) as socket:
        with suppress(ConnectionClosed):
            ask(socket, {"type": "RESUME", "after": 0})
            ask(socket, {"type": "PING"})
        assert until_closed(socket) == ([], 4401)


def test_a_bearer_token_opens_the_socket_too(opened: Open, token: str) -> None:
    with opened(headers={"Authorization": f"Bearer {token}"}) as socket:
        ready(socket)


def session(client: Client, user: User, origin: str) -> dict[str, str]:
    client.force_login(user)
    return {"Cookie": f"sessionid={client.cookies['sessionid'].value}", "Origin": origin}


def test_a_session_opens_the_socket_from_the_sites_own_pages_only(opened: Open, client: Client, member: User, port: int) -> None:
    with opened(headers=session(client, member, f"http://127.0.0.1:{port}")) as socket:
        ready(socket)
    with opened(headers=session(client, member, "http://evil.example")) as socket:
        assert close_code(socket) == 4401


# --- What is heard ---


def test_a_dispatch_is_heard_of_at_once(opened: Open) -> None:
    with opened() as socket:
        ready(socket)
        (task_id,) = sleeps()
        frames = statuses(socket, {task_id: "QUEUED"})
    (task,) = frames[-1]["tasks"]
    assert task.keys() == {"task_id", "name", "status", "attempt", "worker", "at"}
    assert (task["name"], task["attempt"], task["worker"]) == ("drill_sleep", 1, None)
    assert frames[-1]["event_id"] == feed.newest_id()
    assert [later["after"] for later in frames[1:]] == [frame["event_id"] for frame in frames[:-1]]


def test_every_step_of_a_task_leads_to_its_newest_status(opened: Open) -> None:
    (task_id,) = sleeps()
    with opened() as socket:
        ready(socket)
        live.poke(apply([Event(task_id=task_id, status=Status.STARTED, at=time.time(), attempt=1, worker="w1")]))
        (task,) = statuses(socket, {task_id: "STARTED"})[-1]["tasks"]
        assert (task["worker"], task["attempt"]) == ("w1", 2)
        live.poke(apply([Event(task_id=task_id, status=Status.SUCCESS, at=time.time(), attempt=1, worker="w1")]))
        statuses(socket, {task_id: "SUCCESS"})


def test_what_was_committed_without_a_poke_is_heard_of_all_the_same(opened: Open) -> None:
    (task_id,) = sleeps()
    with opened() as socket:
        ready(socket)
        apply([Event(task_id=task_id, status=Status.STARTED, at=time.time(), worker="w1")])
        statuses(socket, {task_id: "STARTED"})


def test_two_listeners_hear_the_same(opened: Open) -> None:
    with opened() as one, opened() as other:
        ready(one)
        ready(other)
        expected = dict.fromkeys(sleeps(3), "QUEUED")
        assert statuses(one, expected)[-1]["event_id"] == statuses(other, expected)[-1]["event_id"]


# --- After a break ---


def test_a_client_that_resumes_gets_exactly_what_it_missed(opened: Open) -> None:
    with opened() as socket:
        ready(socket)
        (early,) = sleeps()
        after = statuses(socket, {early: "QUEUED"})[-1]["event_id"]
    missed = sleeps(3)
    with opened() as socket:
        ready(socket)
        ask(socket, {"type": "RESUME", "after": after})
        frames = statuses(socket, dict.fromkeys(missed, "QUEUED"))
        assert frames[-1]["event_id"] == feed.newest_id()
        # And then goes on live.
        (late,) = sleeps()
        statuses(socket, {late: "QUEUED"})


async def test_a_resume_while_a_frame_waits_for_its_turn_loses_nothing(transactional_db: None) -> None:
    from channels.db import database_sync_to_async
    from django.db import connection

    from tasks_app.web.consumers import TaskStreamConsumer

    class Turn:
        """Stands in for the throttle: the client's RESUME comes in while a frame is held back."""

        async def wait(self) -> None:
            assert await socket.handle({"type": "RESUME", "after": 0})

    sent: list[dict[str, Any]] = []

    async def keep(frame: dict[str, Any]) -> None:
        sent.append(frame)

    socket = TaskStreamConsumer()
    socket.scope = {"query_string": b""}
    socket._poked, socket._throttle, socket.send_json = asyncio.Event(), Turn(), keep  # type: ignore[assignment, method-assign]
    try:
        missed = await database_sync_to_async(sleeps)(3)
        await socket.begin()
        late = await database_sync_to_async(sleeps)()
        await socket.pump()
        assert socket._poked.is_set()
        socket._throttle = Throttle(rate=1, burst=9)
        await socket.pump()
    finally:
        # Of the thread in which asynchronous code queries; the connection looks itself up there.
        await database_sync_to_async(lambda: connection.close())()
    assert {task["task_id"] for frame in sent for task in frame["tasks"]} == {*missed, *late}


async def test_the_first_frame_waits_for_a_resume_that_is_on_its_way(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from channels.db import database_sync_to_async
    from django.db import connection

    from tasks_app.web import consumers

    sent: list[dict[str, Any]] = []

    async def keep(frame: dict[str, Any]) -> None:
        sent.append(frame)

    monkeypatch.setattr(consumers, "GREETING", 60.0)
    socket = consumers.TaskStreamConsumer()
    socket.scope = {"query_string": b""}
    socket._poked, socket._throttle, socket.send_json = asyncio.Event(), Throttle(1, 9), keep  # type: ignore[method-assign]
    try:
        missed = await database_sync_to_async(sleeps)(3)
        await socket.begin()
        socket._pump = asyncio.create_task(socket.pump())
        late = await database_sync_to_async(sleeps)()
        assert not sent
        await socket.receive(json.dumps({"type": "RESUME", "after": 0}))
        await socket._pump
    finally:
        await database_sync_to_async(lambda: connection.close())()
    (frame,) = sent
    assert {task["task_id"] for task in frame["tasks"]} == {*missed, *late}
    assert frame["after"] == 0


def test_a_client_that_was_away_for_too_long_reads_its_list_anew(opened: Open) -> None:
    sleeps(5)
    kept = feed.newest_id() - 2
    TaskEvent.objects.filter(id__lte=kept).delete()
    with opened() as socket:
        ready(socket)
        ask(socket, {"type": "RESUME", "after": kept - 1})
        frame = heard(socket)
        assert (frame["type"], frame["event_id"]) == ("REFRESH", feed.newest_id())
        ask(socket, {"type": "RESUME", "after": kept})
        assert heard(socket)["type"] == "TASK_UPDATE"


# --- What a client should not send ---


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "no json",
        "[]",
        "5",
        "null",
        "{}",
        '{"type": 5}',
        '{"type": "DANCE"}',
        '{"type": "RESUME"}',
        '{"type": "RESUME", "after": "7"}',
        '{"type": "RESUME", "after": -1}',
        '{"type": "RESUME", "after": true}',
        "[" * 60_000,
        b"\x00\xff",
    ],
    ids=lambda frame: repr(frame[:40]),
)
def test_a_frame_that_makes_no_sense_is_answered_and_the_socket_stays(opened: Open, frame: str | bytes) -> None:
    with opened() as socket:
        socket.send(frame)
        answer = heard(socket)
        assert answer["type"] == "ERROR"
        assert answer["detail"]
        ready(socket)


def test_an_event_id_beyond_everything_does_no_harm(opened: Open) -> None:
    with opened() as socket:
        ask(socket, {"type": "RESUME", "after": 10**30})
        ready(socket)
        (task_id,) = sleeps()
        statuses(socket, {task_id: "QUEUED"})


@pytest.mark.parametrize(
    "frame", ["x" * (64 * 1024 + 1), "é" * (32 * 1024 + 1), b"x" * (64 * 1024 + 1)], ids=["text", "utf-8", "bytes"]
)
def test_a_frame_over_64_kib_closes_with_1009(opened: Open, frame: str | bytes) -> None:
    with opened() as socket:
        socket.send(frame)
        assert close_code(socket) == 1009


def test_a_message_in_fragments_is_no_way_around_the_limit(opened: Open) -> None:
    with opened() as socket:
        socket.send(["x" * 40_000, "x" * 40_000])
        assert close_code(socket) == 4413


def test_a_frame_of_just_64_kib_is_read(opened: Open) -> None:
    with opened() as socket:
        ping = '{"type": "PING", "pad": ""}'
        socket.send(ping.replace('""', '"' + "x" * (64 * 1024 - len(ping)) + '"'))
        assert heard(socket) == {"type": "PONG"}


# --- Many at once ---


def test_a_burst_of_two_thousand_events_arrives_as_few_frames(opened: Open) -> None:
    ids = sleeps(1000)
    with opened() as socket:
        ready(socket)
        now = time.time()
        for start in range(0, 1000, 10):
            events = [
                Event(task_id=task_id, status=status, at=now, worker="w1")
                for task_id in ids[start : start + 10]
                for status in (Status.STARTED, Status.SUCCESS)
            ]
            live.poke(apply(events))
        frames = statuses(socket, dict.fromkeys(ids, "SUCCESS"))
    # A hundred commits, each with a poke.
    assert len(frames) < 50
    for frame in frames:
        task_ids = [task["task_id"] for task in frame["tasks"]]
        assert len(task_ids) == len(set(task_ids)), "a task is in one frame twice"


# --- The page's socket ---


def test_the_page_gets_whole_fragments(opened: Open) -> None:
    with opened("/ws/page/overview") as socket:
        html = str(socket.recv(SECONDS))
        for name in ("counters", "stream", "workers"):
            assert html.count(f'id="{name}"') == 1
        assert html.count("hx-swap-oob") == 3
        (task_id,) = sleeps()
        while f'id="task-{task_id}"' not in html or 'data-status="QUEUED"' not in html:
            html = str(socket.recv(SECONDS))


def test_the_page_that_asks_for_a_frame_gets_one(opened: Open) -> None:
    with opened("/ws/page/overview") as socket:
        socket.recv(SECONDS)
        ask(socket, {"type": "REFRESH"})
        assert 'id="counters"' in str(socket.recv(SECONDS))
        assert spoken(socket) == {"type": "CHANGED", "topics": ["outcomes"]}
        ask(socket, {"type": "RESUME", "after": 0})
        assert spoken(socket)["type"] == "ERROR"


def spoken(socket: ClientConnection) -> Any:
    """The next frame that is no HTML."""
    while (answer := str(socket.recv(SECONDS))).lstrip().startswith("<"):
        pass
    return json.loads(answer)


def test_the_page_is_told_that_what_came_of_its_time_changed_now_and_then(opened: Open) -> None:
    with opened("/ws/page/overview") as socket:
        socket.recv(SECONDS)
        started = time.monotonic()
        for _ in range(6):
            sleeps()
        assert spoken(socket) == {"type": "CHANGED", "topics": ["outcomes"]}
        sleeps()
        assert spoken(socket) == {"type": "CHANGED", "topics": ["outcomes"]}
        assert time.monotonic() - started >= OUTCOMES_EVERY


def test_what_a_task_is_called_cannot_put_markup_into_the_page(opened: Open) -> None:
    name = "<img src=x onerror=alert(1)>"
    apply(
        [Event(task_id="01936b2a-7c11-7a10-8000-000000000009", status=Status.QUEUED, at=time.time(), name=name, queue="default")]
    )
    with opened("/ws/page/overview") as socket:
        html = str(socket.recv(SECONDS))
    assert "<img" not in html
    assert "&lt;img" in html


# --- A page's socket ---


def changes(socket: ClientConnection) -> list[str]:
    """The topics of the next frame."""
    frame = heard(socket)
    assert frame["type"] == "CHANGED", frame
    return list(frame["topics"])


def test_a_page_is_told_that_tasks_changed_and_up_to_where(opened: Open) -> None:
    with opened("/ws/page?on=tasks") as socket:
        ready(socket)
        sleeps()
        frame = heard(socket)
        assert (frame["type"], frame["topics"]) == ("CHANGED", ["tasks"])
        assert 0 < frame["event_id"] <= feed.newest_id()


@pytest.mark.parametrize(
    "query", ["task={0}", "family={0}", "name=drill_sleep", "name=other&name=drill_sleep", "task=x&task={0}"]
)
def test_a_page_of_some_tasks_is_told_of_those(opened: Open, query: str) -> None:
    after = feed.newest_id()
    (task_id,) = sleeps()
    with opened(f"/ws/page?on=tasks&after={after}&{query.format(task_id)}") as socket:
        assert changes(socket) == ["tasks"]


@pytest.mark.parametrize("kin", ["parent_id", "replay_of_id"])
def test_a_page_of_a_task_is_told_of_what_it_sent_and_of_what_was_sent_in_its_place(opened: Open, kin: str) -> None:
    ours, other, relative = sleeps(3)
    Task.objects.filter(id=relative).update(**{kin: ours})
    after = feed.newest_id()
    with opened(f"/ws/page?on=tasks&after={after}&family={other}&task={ours}") as deaf:
        with opened(f"/ws/page?on=tasks&after={after}&family={ours}") as socket:
            ready(socket)
            apply([Event(task_id=relative, status=Status.STARTED, at=time.time(), worker="w")])
            assert changes(socket) == ["tasks"]
        live_updates.refresh_pages("notifications")
        assert changes(deaf) == ["notifications"]


@pytest.mark.parametrize("query", ["on=tasks&task=00000000-0000-0000-0000-000000000000", "on=tasks&name=other", "on=queues", ""])
def test_a_page_is_not_told_of_what_it_does_not_show(opened: Open, query: str) -> None:
    with opened(f"/ws/page?{query}") as socket:
        ready(socket)
        sleeps()
        live_updates.refresh_pages("workers")
        live_updates.refresh_pages("notifications")
        # This one every page hears of; had the others been told, they would have come first or with it.
        assert changes(socket) == ["notifications"]


def test_a_page_is_told_how_far_its_task_is_and_a_list_of_any(opened: Open) -> None:
    ours, other = sleeps(2)

    def told(task_id: str, current: int) -> None:
        progress = {"current": current, "total": 9}
        apply([Event(task_id=task_id, status=Status.STARTED, at=time.time(), worker="w", progress=progress)])

    for task_id in (ours, other):
        told(task_id, 1)
    after = feed.newest_id()
    with opened(f"/ws/page?on=tasks,progress&after={after}&family={ours}") as page:
        with opened(f"/ws/page?on=tasks,progress&after={after}") as listing:
            ready(page)
            ready(listing)
            told(other, 2)
            assert changes(listing) == ["progress"]
        told(ours, 3)
        assert changes(page) == ["progress"]


def test_a_page_hears_what_happened_before_its_socket_was_open(opened: Open) -> None:
    after = feed.newest_id()
    sleeps()
    with opened(f"/ws/page?on=tasks&after={after}") as socket:
        assert changes(socket) == ["tasks"]


def test_a_page_whose_last_event_is_kept_no_more_reads_everything_again(opened: Open) -> None:
    after = feed.newest_id()
    sleeps(3)
    TaskEvent.objects.filter(id__lt=feed.newest_id()).delete()
    with opened(f"/ws/page?on=tasks&name=other&after={max(1, after)}") as socket:
        assert changes(socket) == ["tasks"]


@pytest.mark.parametrize("after", ["-1", "x", "9" * 40, "", "%00"])
def test_a_page_that_claims_an_odd_event_starts_with_what_comes(opened: Open, after: str) -> None:
    with opened(f"/ws/page?on=tasks&after={after}") as socket:
        ready(socket)
        sleeps()
        assert changes(socket) == ["tasks"]


def test_a_page_may_ask_for_everything(opened: Open) -> None:
    with opened("/ws/page?on=tasks,queues") as socket:
        ask(ready(socket), {"type": "REFRESH"})
        assert changes(socket) == ["notifications", "queues", "tasks"]


def test_a_page_is_told_by_topic_of_what_has_no_event(opened: Open) -> None:
    with opened("/ws/page?on=queues,workers") as socket:
        ready(socket)
        live_updates.refresh_pages("queues", "nodes")
        assert changes(socket) == ["queues"]


def test_a_burst_of_changes_is_few_frames_for_a_page(opened: Open) -> None:
    with opened("/ws/page?on=tasks,last") as socket:
        ready(socket)
        for _ in range(20):
            sleeps()
        live_updates.refresh_pages("last")
        frames = 0
        while "last" not in changes(socket):
            frames += 1
        # Two at once and two a second; the dispatches above take well under five seconds together, or each is its own frame.
        assert frames < 20
