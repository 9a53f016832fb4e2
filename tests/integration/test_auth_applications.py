"""Every route and every socket, tried by callers who are limited to some applications: of the others they see nothing, anywhere.

A new route fails here until somebody has said below what it shows. Every text and id of an application's rows has a mark, which
must not appear in any answer to a caller who may not see that application.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

import pytest
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Group, User
from django.db import connections
from django.test import Client
from django.utils import timezone

from tasks_app import catalog
from tasks_app.models import Application, Batch, Catalogue, DeadLetter, ReplayRun, Task
from tasks_app.models.application import NATIVE_ID
from tasks_app.models.replay_run import RunState
from tasks_app.models.task_keys import forget_applications
from tasks_app.queries import status_counts
from tasks_app.queries.application_names import ids_of
from tasks_app.queries.feed import since
from tasks_app.recording.apply import apply
from tasks_app.recording.log_recorder import rows_of, store
from tasks_app.web.page_socket import PageConsumer
from tasks_app.web.routing import websocket_urlpatterns
from tests.integration.test_auth_doors import DOORS, OTHERS, SOCKETS, ask, path_of, said
from zenith_site.auth.sockets import SocketAuth
from zenith_site.auth.tokens import create_token
from zenith_site.auth.watch import Credential, valid_credentials
from zenith_site.common.callers import applications_of
from zenith_site.env import Rate
from zenith_site.models import ApiToken, ApplicationLimit, AuditEntry
from zenith_site.notify.kinds import NotificationKind
from zenith_site.notify.models import Notification
from zenith_worker.wire import heartbeat
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.events import Event
from zenith_worker.wire.heartbeat import About
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.states import Status
from zenith_worker.wire.stream import Entry
from zenith_worker.wire.task_logs import LogChunk, LogLine, encode

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

#: Shows nothing of any application.
NEUTRAL = {
    "login/", "logout/", "admin/login/", "settings/", "settings/profile/", "settings/theme/", "settings/password/",
    "settings/tokens/", "settings/tokens/<int:token_id>/revoke/", "openapi.json", "docs", "health", "ready", "metrics",
    "api/v1/tokens", "api/v1/tokens/<token_id>",
}  # fmt: skip
#: Of those, what is open to everybody (unless there is a token for it), whoever they are; it is about Zenith's own application.
OPEN = {"metrics"}
#: Shows only what the caller may see.
FILTERED = {
    "", "nav/counts/", "tasks/", "tasks/act/<slug:verb>/", "tasks/<uuid:task_id>/", "tasks/<uuid:task_id>/values/<slug:value>/",
    "tasks/<uuid:task_id>/log/",
    "tasks/by-id/<name:celery_id>/", "tasks/<uuid:task_id>/edit/", "tasks/<uuid:task_id>/now/", "dispatch/", "dead-letters/",
    "tasks/<uuid:task_id>/peek/", "tasks/views/new/", "tasks/views/<int:view_id>/", "tasks/views/<int:view_id>/delete/",
    "dead-letters/replay/", "dead-letters/discard/", "dead-letters/<name:fingerprint>/", "analytics/", "events/",
    "applications/", "applications/<name:name>/", "applications/<name:name>/diagnosis/", "workers/", "queues/",
    "choose-application/", "find/", "workflows/", "workflows/<uuid:workflow_id>/", "workflows/<uuid:workflow_id>/cancel/",
    "workflows/<uuid:workflow_id>/bodies/<uuid:task_id>/run/", "api/v1/workflows/<workflow_id>/bodies/<task_id>/run",
    "api/v1/workflows", "api/v1/workflows/<workflow_id>", "api/v1/workflows/<workflow_id>/cancel",
    "tasks/trigger", "tasks/all", "task-status/<name:task_id>",
    "api/v1/dead-letters", "api/v1/dead-letters/groups", "api/v1/dead-letters/replay", "api/v1/dead-letters/discard",
    "api/v1/dead-letters/<name:task_id>", "api/v1/tasks", "api/v1/tasks/cancel", "api/v1/tasks/<name:task_id>",
    "api/v1/tasks/<name:task_id>/logs",
    "api/v1/tasks/<name:task_id>/values/<value>", "api/v1/tasks/<name:task_id>/cancel", "api/v1/tasks/<name:task_id>/retry",
    "api/v1/batches", "api/v1/batches/<batch_id>", "api/v1/batches/<batch_id>/cancel", "analytics/stats",
    "api/v1/analytics/series", "api/v1/analytics/tasks", "api/v1/analytics/queues", "api/v1/analytics/heatmap",
    "api/v1/analytics/load", "api/v1/applications", "api/v1/applications/<name:name>",
    "api/v1/applications/<name:name>/diagnosis", "api/v1/events", "api/v1/catalogue",
    "api/v1/catalogue/<name:name>",
}  # fmt: skip
#: Of all applications: for nobody who is limited.
EVERYTHING = {
    "settings/configuration/", "settings/audit/", "settings/users/", "settings/users/new/", "settings/users/<int:user_id>/",
    "settings/users/<int:user_id>/active/", "settings/users/<int:user_id>/password/",
    "notifications/", "notifications/read/", "notifications/<int:notification_id>/mute/", "notifications/rules/",
    "notifications/rules/new/", "notifications/rules/<int:rule_id>/", "notifications/rules/<int:rule_id>/mute/",
    "notifications/rules/<int:rule_id>/test/", "notifications/rules/<int:rule_id>/remove/", "notifications/channels/",
    "notifications/channels/new/", "notifications/channels/<uuid:channel_id>/",
    "notifications/channels/<uuid:channel_id>/remove/", "notifications/channels/test/<slug:key>/",
    "api/v1/notifications/<id>/mute", "api/v1/notification-channels", "api/v1/notification-rules",
    "api/v1/notification-rules/preview", "api/v1/notification-rules/<rule_id>", "api/v1/notification-rules/<rule_id>/test",
    "api/v1/notifications", "api/v1/notifications/read", "api/v1/notifications/<id>",
    "dead-letters/runs/<uuid:run_id>/stop/", "api/v1/dead-letters/runs/<run_id>", "api/v1/dead-letters/runs/<run_id>/stop",
    "api/v1/audit-entries", "applications/new/watch/", "applications/<name:name>/watching/",
    "applications/<name:name>/end-watching/", "api/v1/applications/<name:name>/watching",
}  # fmt: skip
#: Zenith's own workers, queues and nodes: for those who may see its own application.
OWN = {
    "run/", "workers/<name:name>/", "clear-workers/", "workers/<name:name>/clear/",
    "workers/<name:name>/<slug:command>/", "queues/pause/<name:name>/", "queues/resume/<name:name>/",
    "queues/purge/<name:name>/", "queues/of/<name:name>/", "nodes/", "nodes/deploy/", "nodes/act/<slug:verb>/",
    "nodes/hosts/<name:name>/", "nodes/hosts/<name:name>/forget/", "nodes/groups/<uuid:group_id>/",
    "nodes/groups/<uuid:group_id>/scale/", "nodes/groups/<uuid:group_id>/change/", "nodes/groups/<uuid:group_id>/autoscale/",
    "nodes/groups/<uuid:group_id>/remove/", "nodes/<uuid:node_id>/", "nodes/<uuid:node_id>/log/", "inventory/", "network/",
    "deploy", "api/inventory", "api/network", "api/v1/nodes", "api/v1/nodes/act", "api/v1/nodes/<node_id>",
    "api/v1/nodes/<node_id>/events", "api/v1/nodes/<node_id>/samples", "api/v1/nodes/<node_id>/logs",
    "api/v1/nodes/<node_id>/<verb>", "api/v1/groups", "api/v1/groups/<group_id>", "api/v1/groups/<group_id>/scale",
    "api/v1/groups/<group_id>/autoscale", "api/v1/hosts", "api/v1/hosts/<name:name>", "api/v1/workers",
    "api/v1/workers/<name:name>", "api/v1/workers/<name:name>/ping", "api/v1/workers/<name:name>/grow",
    "api/v1/workers/<name:name>/shrink", "api/v1/workers/<name:name>/autoscale", "api/v1/workers/<name:name>/add-queue",
    "api/v1/workers/<name:name>/cancel-queue", "api/v1/workers/<name:name>/time-limit",
    "api/v1/workers/<name:name>/rate-limit", "api/v1/workers/<name:name>/drain", "api/v1/workers/<name:name>/restart-pool",
    "api/v1/workers/<name:name>/shut-down", "api/v1/queues", "api/v1/queues/<name:name>", "api/v1/queues/<name:name>/messages",
    "api/v1/queues/<name:name>/history", "api/v1/queues/<name:name>/pause", "api/v1/queues/<name:name>/resume",
    "api/v1/queues/<name:name>/purge",
}  # fmt: skip

APPLICATIONS = ("zenith", "florist", "clinic")
#: What is in every text and id of an application's rows. An attached application's name is one of its marks.
MARKS = {"zenith": ("ownmark",), "florist": ("florist",), "clinic": ("clinic",)}
MARK = {name: marks[0] for name, marks in MARKS.items()}
#: Who is limited to what; a name ending in `-token` is a token of somebody who is not limited.
LIMITS = {
    "florist": {"florist"},
    "florist-token": {"florist"},
    "zenith": {"zenith"},
    "both": {"florist", "zenith"},
    "nothing": {"gone"},
}


class Rows:
    """The rows of one application: a failed task with a dead letter, one that runs, one that is scheduled, and a batch."""

    def __init__(self, name: str) -> None:
        self.name, self.mark = name, MARK[name]
        key = Application.objects.get(name=name).pk
        now = timezone.now()
        self.batch = Batch.objects.create(
            task_name=f"{self.mark}.batched", size=1, source="api", sent_by=f"{self.mark}-user", created_at=now
        )
        common = {
            "at": time.time(), "queue": f"{self.mark}-queue", "args": [f"{self.mark}-arg"],
            "kwargs": {"who": f"{self.mark}-kwarg"}, "worker": f"{self.mark}-worker@host",
            "application": "" if key == NATIVE_ID else name,
        }  # fmt: skip
        failure = {
            "error_type": f"{self.mark.title()}Error", "error_message": f"{self.mark}-message",
            "traceback": f"{self.mark}-line",
        }  # fmt: skip
        self.ids = {what: f"{self.mark}-{what}" for what in ("failed", "running", "scheduled")}
        apply(
            [
                Event(task_id=self.ids["failed"], status=Status.FAILURE, name=f"{self.mark}.fails", **failure, **common),
                Event(
                    task_id=self.ids["running"],
                    status=Status.STARTED,
                    name=f"{self.mark}.runs",
                    **common,
                    progress={"current": 1, "total": 2, "state": f"{self.mark}-state", "meta": [f"{self.mark}-meta"]},
                ),
                Event(
                    task_id=self.ids["scheduled"], status=Status.QUEUED, name=f"{self.mark}.waits", extras=self._chain(), **common
                ),
            ],
            {common["application"]: key},
        )
        self.keys = {what: key_of(id_, "" if key == NATIVE_ID else name) for what, id_ in self.ids.items()}
        logged = LogChunk(
            task_id=self.ids["failed"], lines=[LogLine(time.time(), 20, f"{self.mark}-logger", f"{self.mark}-logged")]
        )
        store(rows_of(Entry("1-1", encode([logged]), common["application"]), key))
        Task.objects.filter(id=self.keys["scheduled"]).update(status=Status.SCHEDULED, not_before=now.replace(year=2099))
        Task.objects.filter(id=self.keys["failed"]).update(batch=self.batch)
        self.fingerprint = DeadLetter.objects.get(task=self.keys["failed"]).fingerprint
        if key != NATIVE_ID:
            task = {"doc": f"{self.mark}-doc", "queue": f"{self.mark}-queue", "max_retries": 1, "drill": False, "parameters": []}
            Catalogue.objects.create(
                application_id=key, digest="d", tasks={f"{self.mark}.fails": task}, first_seen_at=timezone.now(),
                last_seen_at=timezone.now(),
            )  # fmt: skip

    def _chain(self) -> dict[str, Any]:
        """What makes a task the first of a workflow."""
        following = {"task": f"{self.mark}.follows", "options": {"task_id": f"{self.mark}-follows"}}
        return {"headers": {}, "embed": {"chain": [following]}}

    def path(self, route: str) -> str:
        """The path of a route with this application's ids and names in it."""
        name = (
            f"{self.mark}.fails" if "catalogue" in route else self.name if "applications" in route else f"{self.mark}-worker@host"
        )
        what = "scheduled" if route.endswith(("/edit/", "/now/")) else "running" if route.endswith("cancel") else "failed"
        for part, value in {
            "<uuid:task_id>": str(self.keys[what]), "<task_id>": str(self.keys[what]),
            "<name:task_id>": self.ids[what], "<name:celery_id>": self.ids[what],
            "<uuid:workflow_id>": str(self.keys["scheduled"]), "<workflow_id>": str(self.keys["scheduled"]),
            "<name:fingerprint>": self.fingerprint, "<batch_id>": str(self.batch.id), "<name:name>": name,
        }.items():  # fmt: skip
            route = route.replace(part, value)
        path = path_of(route)
        return f"{path}?application={self.name}" if "catalogue" in route else path

    def state(self) -> list[Any]:
        """What an action could have changed."""
        tasks = Task.objects.filter(application__name=self.name).order_by("id")
        letters = DeadLetter.objects.filter(application__name=self.name).order_by("id")
        return [
            *tasks.values_list("id", "status", "cancel_requested_at", "priority", "not_before"),
            *letters.values_list("state"),
        ]


class World:
    """Three applications with rows, and a client for each of LIMITS."""

    def __init__(self) -> None:
        for name in APPLICATIONS[1:]:
            Application.objects.create(name=name, kind="attached", main=f"{name}-main")
        forget_applications()
        self.rows = {name: Rows(name) for name in APPLICATIONS}
        # Whatever a task says of its relatives, they are of its own application.
        relative = self.rows["florist"].keys["failed"]
        Task.objects.filter(id=self.rows["clinic"].keys["running"]).update(parent_id=relative, replay_of_id=relative)
        now = timezone.now()
        Notification.objects.create(
            kind=NotificationKind.DEAD_LETTER, severity="warning", title="clinic ownmark florist", link="/", opened_at=now,
            last_seen_at=now,
        )  # fmt: skip
        self.run = ReplayRun.objects.create(
            newest=0, source="api", sent_by="clinic ownmark florist", total=1, next_at=timezone.now(), created_at=timezone.now(),
            state=RunState.STOPPED, finished_at=timezone.now(),
        )  # fmt: skip
        self.users = {who: self._user(who, limit) for who, limit in LIMITS.items()}
        self.tokens = {
            who: create_token(self.users[who], who, ["read", "dispatch", "operate", "infra", "admin"],
                              applications=limit if who.endswith("-token") else ())[1]
            for who, limit in LIMITS.items()
        }  # fmt: skip

        self._clients = {who: self._made(who) for who in LIMITS}
        self._cookies = {who: client.cookies.output(attrs=[], header="") for who, client in self._clients.items()}

    def _made(self, who: str) -> Client:
        if who.endswith("-token"):
            return Client(headers={"X-API-Key": self.tokens[who]}, raise_request_exception=False)
        client = Client(raise_request_exception=False)
        client.force_login(self.users[who])
        return client

    @staticmethod
    def _user(who: str, limit: set[str]) -> User:
        user = User.objects.create_user(who, password="a long enough one", is_staff=True)
        user.groups.add(Group.objects.get(name="admin"))
        if not who.endswith("-token"):
            ApplicationLimit.objects.create(user=user, applications=sorted(limit))
        return user

    def client(self, who: str) -> Client:
        """A browser, or with a token a program."""
        client = self._clients[who]
        client.cookies = SimpleCookie(self._cookies[who])
        return client


@pytest.fixture(scope="module")
def once(django_db_setup: Any, django_db_blocker: Any) -> Iterator[World]:
    with django_db_blocker.unblock():
        yield World()
        django_db_setup()
        forget_applications()


@pytest.fixture
def world(once: World, db: None, settings: SettingsWrapper) -> World:
    settings.ZENITH_REFUSAL_RATE_LIMIT = settings.ZENITH_RATE_LIMIT = Rate(1_000_000, 1)
    redis_client().flushdb()
    for name in APPLICATIONS:
        about = About(catalogue="d") if name != "zenith" else About()
        application = "" if name == "zenith" else name
        heartbeat.write(
            f"{MARK[name]}-worker@host", slots=1, busy=0, queues=[f"{MARK[name]}-queue"], application=application, about=about
        )
    catalog.forget()
    forget_applications()
    return once


def unseen(who: str) -> list[str]:
    """The applications that a caller may not see."""
    return [name for name in APPLICATIONS if name not in LIMITS[who]]


def leaked(who: str, response: Any) -> list[str]:
    """The marks in an answer, and in its fields, of applications that the caller may not see."""
    content = b"".join(response.streaming_content) if response.streaming else response.content
    text = (content.decode() + json.dumps(dict(response.headers))).lower()
    return [mark for name in unseen(who) for mark in MARKS[name] if mark in text]


def callers(route: str) -> list[str]:
    """Who tries a route: programs have no pages, people mostly use no API, and what is the same for all is asked for once."""
    if route in NEUTRAL:
        return ["florist"]
    return ["florist" if not route or route.endswith("/") else "florist-token", "zenith", "nothing"]


def test_the_tables_name_every_route_once() -> None:
    assert sorted([*NEUTRAL, *FILTERED, *EVERYTHING, *OWN]) == sorted(OTHERS), "say above what a new route shows"


@pytest.mark.parametrize("route", sorted(EVERYTHING | OWN))
def test_what_is_not_filtered_refuses_whoever_may_not_see_it(route: str, world: World) -> None:
    for who in callers(route):
        for method, row in DOORS[route].items():
            is_let_in = route in OWN and "zenith" in LIMITS[who]
            if is_let_in and method != "get":
                continue  # as anybody's
            response = ask(world.client(who), method, path_of(route), said(row)[1])
            found = f"{method} /{route} as {who}: {response.status_code}"
            if is_let_in:
                assert response.status_code != 403, found
            else:
                assert response.status_code == 403, found
                assert b"limited to" in response.content or b"permission" in response.content, found
            assert not leaked(who, response), found


@pytest.mark.parametrize("route", sorted(NEUTRAL | FILTERED))
def test_no_answer_has_anything_of_another_application(route: str, world: World) -> None:
    for who in callers(route):
        before = {name: world.rows[name].state() for name in unseen(who)}
        for method, row in DOORS[route].items():
            response = ask(world.client(who), method, path_of(route), said(row)[1])
            found = f"{method} /{route} as {who}: {response.status_code}"
            if route != "admin/login/":
                assert response.status_code not in (401, 403, 500), found
            assert not leaked(who, response) or route in OPEN, found
        assert {name: world.rows[name].state() for name in unseen(who)} == before, who


WITH_IDS = sorted(
    route
    for route in FILTERED
    if any(part in route for part in ("task_id>", "celery_id>", "fingerprint>", "batch_id>", "workflow_id>", "<name:name>"))
)


@pytest.mark.parametrize("route", WITH_IDS)
def test_what_another_application_has_is_unknown(route: str, world: World) -> None:
    for who in callers(route)[:2]:
        client = world.client(who)
        for method, row in DOORS[route].items():
            for name in unseen(who):
                rows = world.rows[name]
                before = rows.state()
                response = ask(client, method, rows.path(route), said(row)[1])
                found = f"{method} {rows.path(route)} as {who}: {response.status_code}"
                assert response.status_code == 404, found
                assert rows.state() == before, found
                # The path that was asked for may come again, as the answer to any unknown one has it.
                assert not [
                    mark for other in unseen(who) if other != name for mark in MARKS[other] if mark in response.content.decode()
                ]


@pytest.mark.parametrize("route", WITH_IDS)
def test_what_their_own_application_has_is_found(route: str, world: World) -> None:
    for who in ("florist", "both"):
        for method, row in DOORS[route].items():
            response = ask(world.client(who), method, world.rows["florist"].path(route), said(row)[1])
            assert response.status_code not in (403, 404, 500), f"{method} /{route} as {who}: {response.status_code}"
            assert not leaked(who, response)


LISTS = [
    "/tasks/?application={0}", "/tasks/?q=application:{0}", "/tasks/?q={0}", "/tasks/?q=id:{id}", "/tasks/?q=name:{0}*",
    "/tasks/?q=batch:{batch}", "/tasks/?q=args.0:{0}-arg", "/tasks/?status=FAILURE&sort=-created", "/tasks/?format=csv",
    "/tasks/all?application={0}", "/tasks/all?q=worker:{0}*", "/api/v1/tasks?q=parent:{key}", "/api/v1/tasks?q=-status:SUCCESS",
    "/events/?application={0}", "/events/?format=csv", "/events/?task={0}.fails", "/api/v1/events?after=0",
    "/api/v1/events?application={0}", "/dead-letters/?application={0}", "/dead-letters/?state=ALL&format=csv",
    "/dead-letters/?error={0}Error", "/api/v1/dead-letters?group={group}", "/api/v1/dead-letters/groups?application={0}",
    "/api/v1/batches?application={0}", "/api/v1/batches?task={0}.batched", "/analytics/?application={0}",
    "/find/?q={0}", "/find/?q={id}", "/find/?q={key}",
    "/analytics/?format=csv&list=task", "/analytics/?group=queue", "/api/v1/analytics/tasks?application={0}",
    "/workflows/?application={0}", "/workflows/?status=RUNNING", "/api/v1/workflows?application={0}", "/api/v1/workflows",
    "/analytics/stats?application={0}", "/dispatch/", "/dispatch/?application={own}",
]  # fmt: skip


@pytest.mark.parametrize("path", LISTS)
def test_a_filter_widens_nothing(path: str, world: World) -> None:
    rows = world.rows["clinic"]
    path = path.format(
        "clinic", id=rows.ids["failed"], key=rows.keys["failed"], batch=rows.batch.id, group=rows.fingerprint, own="florist"
    )
    response = world.client("florist").get(path)
    assert response.status_code == 200
    # The filter itself comes again in the page's fields and links.
    assert not [mark for mark in ("clinic.", "clinic-", "ownmark") if mark in said_without(path, response)], path


def said_without(path: str, response: Any) -> str:
    """An answer without what was asked for."""
    content = b"".join(response.streaming_content) if response.streaming else response.content
    text = content.decode().lower()
    for word in ("clinic-arg", "clinic-failed", "clinic.fails", "clinic.batched"):
        text = text.replace(word, "") if word in path else text
    return text


@pytest.mark.parametrize("who", ["florist", "both"])
def test_their_own_application_is_shown(who: str, world: World) -> None:
    client = world.client(who)
    for path in (
        "/tasks/", "/tasks/?q=application:florist", "/tasks/all", "/api/v1/tasks", "/events/", "/api/v1/events", "/dead-letters/",
        "/api/v1/dead-letters", "/api/v1/dead-letters/groups", "/api/v1/batches", "/analytics/", "/api/v1/analytics/tasks",
        "/workflows/",
        "/api/v1/workflows", "/api/v1/analytics/queues", "/applications/", "/api/v1/applications",
        "/dispatch/?application=florist",
        "/api/v1/catalogue?application=florist", "/workers/", "/workers/?application=florist",
        "/workers/florist-worker@host/?application=florist", "/queues/?application=florist",
        "/queues/of/florist-queue/?application=florist", "/api/v1/queues/florist-queue?application=florist",
        "/api/v1/workers?application=florist", "/api/v1/workers/florist-worker@host?application=florist",
    ):  # fmt: skip
        assert "florist" in client.get(path).content.decode(), path
    by_status = client.get("/analytics/stats").json()["by_status"]
    assert by_status["FAILURE"] == by_status["STARTED"] == len(LIMITS[who])
    # Which tasks Zenith's own application has.
    for path in ("/tasks/", "/analytics/"):
        assert ("analyze_text" in client.get(path).content.decode()) == ("zenith" in LIMITS[who]), path
    assert sum(row["failed"] for row in client.get("/api/v1/analytics/tasks").json()["rows"]) == len(LIMITS[who])
    tabs = {tab["status"]: tab["count"] for tab in client.get("/tasks/").context["tabs"]}
    assert tabs["FAILURE"] == tabs["STARTED"] == tabs["SCHEDULED"] == len(LIMITS[who])
    counts = client.get("/nav/counts/").content.decode()
    assert f"{len(LIMITS[who])} running" in counts


def test_tasks_of_other_applications_are_not_read_to_count_those_that_one_sees(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In all three applications there are too many, in each of them there are not.
    monkeypatch.setattr(status_counts, "COUNTED_TO", 2)
    client = world.client("both")
    tabs = {tab["status"]: tab["count"] for tab in client.get("/tasks/").context["tabs"]}
    assert tabs["FAILURE"] is tabs["STARTED"] is None
    Task.objects.filter(id=world.rows["florist"].keys["scheduled"]).update(status=Status.QUEUED)
    assert "at least 0 running, 1 waiting" in client.get("/nav/counts/").content.decode()
    tabs = {tab["status"]: tab["count"] for tab in world.client("florist").get("/tasks/").context["tabs"]}
    assert tabs["FAILURE"] == tabs["STARTED"] == 1
    # Those of attached applications are counted along their index: they alone may be too many.
    Task.objects.filter(id=world.rows["florist"].keys["running"]).update(status=Status.QUEUED)
    assert {tab["status"]: tab["count"] for tab in client.get("/tasks/").context["tabs"]}["QUEUED"] == 2


@pytest.mark.parametrize("name", ["clinic", "zenith"])
def test_workers_and_queues_of_another_application_are_unknown(name: str, world: World) -> None:
    worker, queue = f"{MARK[name]}-worker@host", f"{MARK[name]}-queue"
    for path in (
        f"/workers/{worker}/", "/queues/", f"/queues/of/{queue}/", "/api/v1/workers", f"/api/v1/workers/{worker}",
        "/api/v1/queues", f"/api/v1/queues/{queue}", f"/api/v1/queues/{queue}/messages", f"/api/v1/queues/{queue}/history",
    ):  # fmt: skip
        response = world.client("florist").get(path, {"application": name})
        assert response.status_code == (403 if name == "zenith" else 404), path
    page = world.client("florist").get("/workers/", {"application": name})
    assert (page.status_code, worker in page.content.decode()) == (200, False)
    chosen = world.client("florist").post("/choose-application/", {"application": name})
    assert chosen.status_code == 404


def test_the_queues_without_an_application_are_of_the_first_that_they_see(world: World) -> None:
    for who, query, leads_to in (
        ("florist", "", "/queues/?application=florist"),
        ("florist", "?q=flo&format=csv", "/queues/?q=flo&format=csv&application=florist"),
        ("nothing", "", "/applications/"),
    ):
        response = world.client(who).get(f"/queues/{query}")
        assert (response.status_code, response.headers["Location"]) == (302, leads_to), who
    for who in ("zenith", "both"):
        assert "ownmark-queue" in world.client(who).get("/queues/").content.decode(), who


def test_actions_reach_no_task_of_another_application(world: World) -> None:
    client, theirs, own = world.client("florist"), world.rows["clinic"], world.rows["florist"]
    before = theirs.state(), world.rows["zenith"].state()
    keys = [str(key) for key in theirs.keys.values()]
    for verb in ("cancel", "stop", "again", "discard"):
        for form in ({"id": keys}, {"all": "1"}, {"all": "1", "q": "application:clinic"}):
            assert client.post(f"/tasks/act/{verb}/", form).status_code == 302
    assert client.get("/dead-letters/discard/", {"id": keys}).status_code == 302  # nothing to confirm
    for form in ({"id": keys}, {"group": theirs.fingerprint}, {"all": "1"}, {"all": "1", "application": "clinic"}):
        assert client.post("/dead-letters/replay/", form).status_code == 302
        assert client.post("/dead-letters/discard/", form).status_code == 302
    api = world.client("florist-token")
    for body in ({"ids": keys}, {"filter": {"q": "application:clinic"}}, {"filter": {"q": "-status:SUCCESS"}}):
        assert ask(api, "post", "/api/v1/tasks/cancel", body).status_code == 200
    assert ask(api, "post", "/api/v1/dead-letters/discard", {"ids": [theirs.ids["failed"]]}).status_code == 422
    assert ask(api, "post", "/api/v1/dead-letters/replay", {"ids": keys[:1]}).status_code == 422
    ask(api, "post", "/api/v1/dead-letters/replay", {"group": theirs.fingerprint, "forced": True, "rate": 1})
    assert not ReplayRun.objects.exclude(pk=world.run.pk).exclude(task_ids=[]).exists()
    assert (theirs.state(), world.rows["zenith"].state()) == before
    assert DeadLetter.objects.get(task=own.keys["failed"]).state != "OPEN"


@pytest.mark.parametrize("name", ["clinic", "zenith", "unknown"])
def test_dispatching_to_another_application_is_as_to_an_unknown_one(name: str, world: World) -> None:
    tasks = Task.objects.count()
    client = world.client("florist-token")
    for path, body in (
        ("/api/v1/tasks", {"dispatches": [{"task": f"{MARK.get(name, name)}.fails", "application": name}]}),
        ("/tasks/trigger", {"task": f"{MARK.get(name, name)}.fails", "application": name}),
    ):
        response = ask(client, "post", path, body)
        assert response.status_code == 422
        assert f"there is no application '{name}'; applications are: florist" in response.content.decode()
    like = world.rows[name].keys["failed"] if name in world.rows else key_of("unknown")
    for query in (f"application={name}", f"like={like}"):
        assert world.client("florist").get(f"/dispatch/?{query}").status_code == 404
    assert Task.objects.count() == tasks


def test_the_navigation_offers_only_what_is_for_them(world: World) -> None:
    page = world.client("florist").get("/tasks/").content.decode()
    for path in ("/nodes/", "/inventory/", "/network/", "/admin/", "/notifications/"):
        assert f'href="{path}"' not in page, path
    for path in ("/tasks/", "/dispatch/", "/dead-letters/", "/analytics/", "/events/", "/applications/", "/workers/", "/queues/"):
        assert f'href="{path}"' in page, path
    assert 'href="/nodes/"' in world.client("zenith").get("/tasks/").content.decode()
    assert world.client("nothing").get("/").headers["Location"] == "/tasks/"


def test_the_overview_is_of_the_first_that_they_see_and_of_no_other(world: World) -> None:
    for who, name, others in (("florist", "florist", ("clinic", "zenith")), ("both", "zenith", ("clinic",))):
        client = world.client(who)
        assert client.get("/").headers["Location"] == f"/?application={name}"
        for headers in ({}, {"HX-Request": "true"}):
            page = client.get(f"/?application={name}", headers=headers)
            assert page.status_code == 200
            assert MARK[name] in page.content.decode()
            assert not leaked(who, page)
        assert [client.get(f"/?application={other}").status_code for other in others] == [404] * len(others)


def test_the_admin_is_for_nobody_who_is_limited(world: World) -> None:
    for path in ("/admin/", "/admin/tasks_app/task/", "/admin/auth/user/", "/admin/zenith_site/apitoken/"):
        for who in ("florist", "both"):
            response = world.client(who).get(path)
            assert response.status_code == 403, path
            assert not leaked(who, response)


def test_superusers_are_never_limited(world: World) -> None:
    root = User.objects.create_superuser("root", password="a long enough one")
    ApplicationLimit.objects.create(user=root, applications=["florist"])
    client = Client()
    client.force_login(root)
    assert "clinic" in client.get("/tasks/").content.decode()


def test_an_empty_limit_is_none(world: World) -> None:
    ApplicationLimit.objects.filter(user=world.users["florist"]).update(applications=[])
    assert "clinic" in world.client("florist").get("/tasks/").content.decode()


def test_a_token_sees_no_more_than_its_user_and_its_maker(world: World) -> None:
    _, raw = create_token(world.users["both"], "t", ["read", "admin"], applications=["zenith", "clinic"])
    made = Client(headers={"X-API-Key": raw})
    assert [item["name"] for item in made.get("/api/v1/applications").json()] == ["zenith"]
    body = {"name": "child", "scopes": ["read"]}
    assert ask(made, "post", "/api/v1/tokens", {**body, "applications": ["florist"]}).status_code == 422
    child = ask(made, "post", "/api/v1/tokens", body).json()
    assert child["applications"] == ["zenith"]
    assert [item["name"] for item in Client(headers={"X-API-Key": child["token"]}).get("/api/v1/applications").json()] == [
        "zenith"
    ]
    ApplicationLimit.objects.filter(user=world.users["both"]).update(applications=["florist"])
    assert made.get("/api/v1/applications").json() == []


def test_a_limited_token_manages_no_token_that_sees_more(world: World) -> None:
    user = world.users["florist-token"]
    wider = {what: create_token(user, what, ["read"], applications=applications)[0] for what, applications in {
        "unlimited": (), "clinic's": ("clinic",), "both": ("clinic", "florist"),
    }.items()}  # fmt: skip
    same, _ = create_token(user, "same", ["read"], applications=["florist"])
    client = world.client("florist-token")
    assert {item["name"] for item in client.get("/api/v1/tokens").json()} == {"florist-token", "same"}
    for token in wider.values():
        assert client.delete(f"/api/v1/tokens/{token.pk}").status_code == 404
    assert client.delete(f"/api/v1/tokens/{same.pk}").status_code == 204
    assert set(ApiToken.objects.filter(user=user, revoked_at=None).values_list("name", flat=True)) == {"florist-token", *wider}


def test_people_limit_their_tokens_on_the_settings_page(world: World) -> None:
    client = world.client("both")
    form = {"name": "till", "scopes": ["read"], "applications": ["florist"]}
    assert client.post("/settings/tokens/", form).status_code == 302
    assert ApiToken.objects.get(name="till").applications == ["florist"]
    assert client.post("/settings/tokens/", {**form, "applications": ["clinic"]}).status_code == 422
    page = client.get("/settings/").content.decode()
    assert "only florist" in page
    assert "You see florist, zenith." in page


def test_an_administrator_limits_a_user_on_their_page(world: World) -> None:
    User.objects.create_superuser("root", password="a long enough one")
    client = Client()
    client.force_login(User.objects.get(username="root"))
    user = User.objects.create_user("nina", password="a long enough one")
    path = f"/admin/auth/user/{user.pk}/change/"
    page = client.get(path).content.decode()
    assert all(f'value="{name}"' in page for name in APPLICATIONS)
    form = {
        "username": "nina", "date_joined_0": "2030-01-01", "date_joined_1": "12:00", "is_active": "on",
        "application_limit-TOTAL_FORMS": "1", "application_limit-INITIAL_FORMS": "0", "application_limit-0-user": user.pk,
        "application_limit-0-applications": ["florist"],
    }  # fmt: skip
    response = client.post(path, form)
    assert response.status_code == 302, response.content.decode()
    assert User.objects.get(pk=user.pk).application_limit.applications == ["florist"]
    assert AuditEntry.objects.filter(detail__limited_to=["florist"]).exists()
    form |= {"application_limit-INITIAL_FORMS": "1", "application_limit-0-applications": []}
    assert client.post(path, form).status_code == 302
    assert applications_of(User.objects.get(pk=user.pk)) is None


async def listen(world: World, who: str, path: str) -> WebsocketCommunicator:
    cookies = world._cookies[who].encode()
    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost"), (b"cookie", cookies)]
    if who.endswith("-token"):
        headers = [(b"x-api-key", world.tokens[who].encode())]
    socket = WebsocketCommunicator(SocketAuth(URLRouter(websocket_urlpatterns)), path, headers=headers)
    assert (await socket.connect(timeout=10))[0]
    return socket


def test_the_table_of_sockets_is_complete() -> None:
    assert set(SOCKETS) == {"ws/tasks", "ws/page", "ws/page/overview"}, "say below what a new socket shows"


async def test_the_overviews_socket_is_for_nobody_who_is_limited(world: World) -> None:
    try:
        socket = await listen(world, "florist", "/ws/page/overview")
        closed = await socket.receive_output(timeout=10)
        assert (closed["type"], closed["code"]) == ("websocket.close", 4403)
    finally:
        await asyncio.to_thread(connections.close_all)


@pytest.mark.parametrize(
    ("who", "seen"), [("florist", {"florist"}), ("florist-token", {"florist"}), ("both", {"florist", "zenith"})]
)
async def test_events_of_other_applications_are_not_sent(who: str, seen: set[str], world: World) -> None:
    try:
        socket = await listen(world, who, "/ws/tasks")
        await socket.send_to(text_data=json.dumps({"type": "RESUME", "after": 0}))
        frame = json.loads(await socket.receive_from(timeout=10))
        assert frame["type"] == "TASK_UPDATE"
        assert {task["name"] for task in frame["tasks"]} >= {f"{MARK[name]}.fails" for name in seen}
        assert not [mark for name in unseen(who) for mark in MARKS[name] if mark in json.dumps(frame)]
        await socket.disconnect(timeout=10)
    finally:
        await asyncio.to_thread(connections.close_all)


async def test_a_page_hears_of_its_own_applications_only(world: World) -> None:
    try:
        socket = await listen(world, "florist", "/ws/page?on=tasks,dead-letters,nodes,queues&after=0")
        assert json.loads(await socket.receive_from(timeout=10))["topics"] == ["tasks"]
        await socket.send_to(text_data=json.dumps({"type": "REFRESH"}))
        assert json.loads(await socket.receive_from(timeout=10))["topics"] == ["dead-letters", "tasks"]
        await socket.disconnect(timeout=10)
    finally:
        await asyncio.to_thread(connections.close_all)


@pytest.mark.parametrize("who", ["florist", "both"])
async def test_a_page_hears_of_the_logs_of_its_own_tasks_only(world: World, who: str) -> None:
    topics = {name: f"task-log-{world.rows[name].keys['running']}" for name in APPLICATIONS}
    try:
        socket = await listen(world, who, f"/ws/page?on={','.join(topics.values())},task-log-1")
        await socket.send_to(text_data=json.dumps({"type": "REFRESH"}))
        heard = json.loads(await socket.receive_from(timeout=10))["topics"]
        assert set(heard) == {topics[name] for name in LIMITS[who]}
        await socket.disconnect(timeout=10)
    finally:
        await asyncio.to_thread(connections.close_all)


async def test_a_page_of_zeniths_own_application_hears_of_its_nodes(world: World) -> None:
    try:
        socket = await listen(world, "both", "/ws/page?on=tasks,nodes,node-log-1,queues,notifications")
        await socket.send_to(text_data=json.dumps({"type": "REFRESH"}))
        assert json.loads(await socket.receive_from(timeout=10))["topics"] == ["node-log-1", "nodes", "queues", "tasks"]
        await socket.disconnect(timeout=10)
    finally:
        await asyncio.to_thread(connections.close_all)


async def test_how_far_tasks_of_another_application_are_changes_no_page() -> None:
    page = PageConsumer()
    page._topics, page._changed = {"tasks", "progress"}, set()
    page._names = page._tasks = page._families = frozenset()
    page.seen = frozenset({7})
    await page.tasks_progress({"tasks": [["a", NATIVE_ID], ["b", 8]]})
    assert not page._changed
    await page.tasks_progress({"tasks": [["c", 7]]})
    assert page._changed == {"progress"}


def test_an_event_of_another_application_changes_no_page(world: World) -> None:
    page = PageConsumer()
    page._names = page._tasks = page._families = frozenset()
    page.seen = ids_of(frozenset({"florist"}))
    events = since(0) or []
    assert {event.name.partition(".")[0] for event in events if page._shows(event)} == {"florist"}
    page.seen = None
    assert {event.name.partition(".")[0] for event in events if page._shows(event)} == set(MARK.values())


def test_a_new_limit_ends_the_sockets_from_before(world: World) -> None:
    user = world.users["florist"]
    session = Credential("session", world.client("florist").cookies["sessionid"].value, frozenset({"florist"}))
    token = Credential("token", str(user.api_tokens.get().pk), frozenset({"florist"}))
    assert valid_credentials({session, token}) == {session, token}
    ApplicationLimit.objects.filter(user=user).update(applications=["clinic"])
    assert not valid_credentials({session, token}) & {session, token}
