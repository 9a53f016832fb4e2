"""Refusals in the audit log: who was refused what, from where and why; many of one kind are one entry with a count."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import logging
from datetime import timedelta
from typing import Any

import pytest
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Group, Permission, User
from django.db import DatabaseError, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.web.routing import websocket_urlpatterns
from tests.integration.conftest import ApiClient
from zenith_site.auth import refusals, throttle
from zenith_site.auth.socket_limit import SocketLimit
from zenith_site.auth.sockets import SocketAuth
from zenith_site.auth.tokens import create_token
from zenith_site.env import Rate
from zenith_site.models import ApiToken, AuditEntry

pytestmark = pytest.mark.django_db

HTML = {"Accept": "text/html"}
AUDIT = "/api/v1/audit-entries"


@pytest.fixture(autouse=True)
def fresh(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without refusals, and have Redis count as if no minute ended during the test, however slow the machine is."""
    throttle.client().delete(*refusals.KEYS)
    monkeypatch.setattr(refusals, "MINUTE", 10**9)


def entries() -> list[AuditEntry]:
    """What the log says by now, the oldest first."""
    refusals.write_counts()
    return list(AuditEntry.objects.filter(refusal__isnull=False).order_by("id"))


def told() -> list[tuple[str, int | None, str, int]]:
    return [(entry.action, entry.status, entry.detail["why"], entry.count) for entry in entries()]


# --- What is told ---


def test_a_wrong_token_is_told_without_the_token() -> None:
    client = Client(headers={"X-API-Key": "zen_" + "w" * 43})
    assert client.get("/tasks/all", REMOTE_ADDR="192.0.2.7").status_code == 401
    (entry,) = entries()
    assert (entry.action, entry.path, entry.status, entry.address) == ("GET /tasks/all", "/tasks/all", 401, "192.0.2.7")
    assert (entry.user_id, entry.username, entry.token, entry.count) == (None, "", "", 1)
    assert entry.detail == {"why": "The token is unknown."}
    assert "wwww" not in str(AuditEntry.objects.values())


def test_a_missing_token_is_told() -> None:
    assert Client().get("/tasks/all").status_code == 401
    assert told() == [("GET /tasks/all", 401, "Neither a token nor a session was sent.", 1)]


@pytest.mark.parametrize("how", ["revoked", "expired", "inactive"])
def test_of_a_token_that_opens_nothing_any_more_it_is_told_which_and_why(admin: User, how: str) -> None:
    token, raw = create_token(admin, "billing", ["read"])
    if how == "inactive":
        User.objects.update(is_active=False)
    else:
        field = {"revoked": "revoked_at", "expired": "expires_at"}[how]
        ApiToken.objects.update(**{field: timezone.now() - timedelta(seconds=1)})
    assert Client(headers={"Authorization": f"Bearer {raw}"}).get("/tasks/all").status_code == 401
    (entry,) = entries()
    assert (entry.username, entry.token) == ("root", str(token))
    why = {"revoked": "The token is revoked.", "expired": "The token has expired.", "inactive": "The token's user is not active."}
    assert entry.detail == {"why": why[how]}
    assert raw not in str(AuditEntry.objects.values())


def test_a_scope_that_is_lacking_is_told(api: ApiClient) -> None:
    assert api("read").post("/tasks/trigger", {}, content_type="application/json").status_code == 403
    (entry,) = entries()
    assert (entry.username, entry.token.split(" ")[0], entry.status) == ("root", "test", 403)
    assert entry.detail == {"why": "This token lacks the scope 'dispatch'."}


def test_a_page_that_a_person_may_not_open_is_told(member: User) -> None:
    client = Client(headers=HTML)
    client.force_login(member)
    assert client.get("/dispatch/").status_code == 403
    (entry,) = entries()
    assert (entry.user_id, entry.username, entry.action) == (member.pk, "member", "GET /dispatch/")
    assert entry.detail == {"why": "member lacks the permission tasks_app.dispatch_task."}


def test_a_form_without_its_token_is_told(member: User) -> None:
    client = Client(enforce_csrf_checks=True, headers=HTML)
    client.force_login(member)
    assert client.post("/settings/theme/", {"theme": "dark"}).status_code == 403
    assert client.post("/api/v1/tokens", {}, content_type="application/json", headers={"Accept": "*/*"}).status_code == 403
    (page, api) = entries()
    assert (page.username, page.action) == ("member", "POST /settings/theme/")
    assert (api.username, api.action) == ("member", "POST /api/v1/tokens")


def test_what_is_throttled_is_told(api: ApiClient, settings: Any) -> None:
    settings.ZENITH_RATE_LIMIT = Rate(1, 3600)
    client = api("dispatch")
    statuses = [client.post("/tasks/trigger", {"count": 1}, content_type="application/json").status_code for _ in range(3)]
    assert statuses == [200, 429, 429]
    ((action, status, why, count),) = told()
    assert (action, status, count) == ("POST /tasks/trigger", 429, 2)
    assert why.startswith("At most 1 triggers in 3600 s")


def test_a_throttled_button_is_told_as_refused_and_not_as_done(admin: User, settings: Any) -> None:
    settings.ZENITH_RATE_LIMIT = Rate(1, 3600)
    client = Client(headers=HTML)
    client.force_login(admin)
    AuditEntry.objects.all().delete()
    assert [client.post("/run/").status_code for _ in range(2)] == [302, 302]
    assert AuditEntry.objects.filter(action="POST /run/", refusal=None).count() == 1
    assert [(entry.action, entry.status) for entry in entries()] == [("POST /run/", 429)]


def test_a_throttled_login_is_told(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "FIRST", throttle.LONGEST)
    for key in throttle.client().scan_iter("zenith:login:*"):
        throttle.client().delete(key)
    for _ in range(7):
        Client().post("/login/", {"username": "root", "password": "hunter-two"}, REMOTE_ADDR="203.0.113.9")
    (entry,) = entries()
    assert (entry.action, entry.status, entry.address, entry.count) == ("POST /login/", 429, "203.0.113.9", 2)
    assert "hunter-two" not in str(AuditEntry.objects.values())


def test_metrics_tell_too(settings: Any) -> None:
    settings.ZENITH_METRICS_TOKEN = "m" * 32
    assert Client().get("/metrics").status_code == 401
    assert [entry.action for entry in entries()] == ["GET /metrics"]


def test_a_token_in_an_address_is_not_kept(db: None) -> None:
    raw = "zen_" + "x" * 43
    assert Client().get(f"/api/v1/tasks/{raw}").status_code == 401
    assert "xxxx" not in str(AuditEntry.objects.values())
    assert [entry.path for entry in entries()] == ["/api/v1/tasks/***"]


@pytest.mark.parametrize(("path", "status"), [("/tasks/", 302), ("/no/such", 404), ("/tasks/all?limit=x", 422)])
def test_other_answers_are_none_of_it(api: ApiClient, path: str, status: int) -> None:
    client = Client(headers=HTML) if status == 302 else api("read")
    assert client.get(path).status_code == status
    assert not entries()


# --- Over a WebSocket ---


async def close_code(application: Any, headers: dict[str, str]) -> int:
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    socket = WebsocketCommunicator(application, "/ws/tasks", headers=fields)
    socket.scope["client"] = ["198.51.100.3", 5]
    assert (await socket.connect(timeout=10))[0]
    while True:
        output = await socket.receive_output(timeout=10)
        if output["type"] == "websocket.close":
            await asyncio.to_thread(connections.close_all)
            return int(output["code"])


@pytest.fixture
def dispatching(transactional_db: None, admin: User) -> str:
    return create_token(admin, "test", ["dispatch"])[1]


@pytest.mark.django_db(transaction=True)
async def test_a_socket_that_is_refused_is_told(dispatching: str) -> None:
    raw = dispatching
    application = SocketAuth(URLRouter(websocket_urlpatterns))
    assert await close_code(application, {}) == 4401
    assert await close_code(application, {"x-api-key": "zen_unknown"}) == 4401
    assert await close_code(application, {"x-api-key": raw}) == 4403
    full = SocketAuth(SocketLimit(URLRouter(websocket_urlpatterns), for_user=0, for_process=9))
    assert await close_code(full, {"x-api-key": raw}) == 4429
    found = await asyncio.to_thread(lambda: [(e.action, e.path, e.status, e.username, e.address, e.count) for e in entries()])
    assert found == [
        ("WebSocket", "/ws/tasks", 4401, "", "198.51.100.3", 2),
        ("WebSocket", "/ws/tasks", 4403, "root", "198.51.100.3", 1),
        ("WebSocket", "/ws/tasks", 4429, "root", "198.51.100.3", 1),
    ]


@pytest.mark.django_db(transaction=True)
async def test_a_socket_that_is_shown_out_later_was_not_refused(admin: User) -> None:
    async def shows_out(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4401})

    raw = await asyncio.to_thread(lambda: create_token(User.objects.get(), "test", ["read"])[1])
    assert await close_code(SocketAuth(shows_out), {"x-api-key": raw}) == 4401
    assert await asyncio.to_thread(entries) == []


# --- However many there are ---


def test_a_flood_is_one_entry_with_a_count_and_costs_one_write() -> None:
    client = Client(headers={"X-API-Key": "wrong"})
    client.get("/tasks/all")
    with CaptureQueriesContext(connections["default"]) as queries:
        for _ in range(40):
            assert client.get("/tasks/all").status_code == 401
    assert not [query for query in queries if "audit" in query["sql"]]
    assert [(entry.action, entry.count) for entry in entries()] == [("GET /tasks/all", 41)]


def test_a_caller_that_tries_everything_gets_so_many_entries_and_one_for_the_rest() -> None:
    lists = "tasks batches nodes groups hosts workers queues events catalogue notifications tokens dead-letters analytics/series"
    for name in lists.split():
        assert Client().get(f"/api/v1/{name}", REMOTE_ADDR="192.0.2.1").status_code == 401
    Client().get("/tasks/all", REMOTE_ADDR="192.0.2.2")
    found = entries()
    assert len(found) == refusals.PER_CALLER + 2
    rest = next(entry for entry in found if entry.action == "further refusals")
    assert (rest.address, rest.count) == ("192.0.2.1", 13 - refusals.PER_CALLER)
    assert sum(entry.count for entry in found) == 14


def test_many_callers_get_so_many_entries_and_one_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MAX_ENTRIES", 20)
    for number in range(50):
        Client().get("/tasks/all", REMOTE_ADDR=f"192.0.2.{number}")
    found = entries()
    assert len(found) == 21
    rest = found[-1]
    assert (rest.action, rest.address, rest.count) == ("further refusals", None, 30)


def test_a_count_that_nobody_could_write_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(refusals, "_write", lambda *_: (_ for _ in ()).throw(DatabaseError("gone")))
        assert [Client().get("/tasks/all").status_code for _ in range(3)] == [401] * 3
    assert not AuditEntry.objects.exists()
    assert [entry.count for entry in entries()] == [3]
    assert [entry.count for entry in entries()] == [3], "written twice is written once"


def test_what_cannot_be_stored_holds_up_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    Client().get("/tasks/all")
    for name, entry in (("1:a:", b"[]"), ("1:b:", b"{"), ("1:c:", json.dumps({"refusal": "no uuid", "at": "never"}))):
        throttle.client().hset(refusals.KEYS[0], name, 1)
        throttle.client().hset(refusals.KEYS[1], name, entry)
    assert [entry.action for entry in entries()] == ["GET /tasks/all"]
    assert "no uuid" in caplog.text


def test_what_is_settled_after_its_minute_leaves_redis_empty_and_the_next_is_a_new_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        Client().get("/tasks/all")
    # Their minute was the first; by minutes of sixty seconds it is long over.
    monkeypatch.setattr(refusals, "MINUTE", 60)
    refusals.write_counts()
    assert not throttle.client().exists(*refusals.KEYS)
    Client().get("/tasks/all")
    assert [entry.count for entry in entries()] == [2, 1]


@pytest.mark.usefixtures("redis_away")
def test_without_redis_the_answer_is_the_same_and_the_log_of_the_process_tells(caplog: pytest.LogCaptureFixture) -> None:
    refusals._logged_at = float("-inf")
    with caplog.at_level(logging.ERROR):
        assert [Client().get("/tasks/all").status_code for _ in range(3)] == [401] * 3
    assert caplog.text.count("Could not count refusals for the audit log") == 1
    assert "GET /tasks/all" in caplog.text


# --- Reading the log: through the API, and as a file ---


@pytest.fixture
def auditor(db: None) -> User:
    """Somebody who may read the log and nothing else of the administration."""
    user = User.objects.create_user("auditor", password="a long enough one", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_auditentry"))
    return user


def acted(count: int, **fields: Any) -> None:
    for number in range(count):
        AuditEntry.objects.create(**{"action": f"POST /{number}", "username": "root", **fields})


def test_the_api_lists_the_newest_first_in_pages(auditor: User, api: ApiClient) -> None:
    acted(5)
    client = api("admin", user=auditor)
    first = client.get(AUDIT, {"limit": 2})
    assert [entry["action"] for entry in first.json()] == ["POST /4", "POST /3"]
    entry = first.json()[0]
    assert entry.keys() == {
        "id", "at", "username", "token", "address", "action", "path", "status", "count", "refused", "detail"
    }  # fmt: skip
    link = first.headers["Link"].split(">")[0].removeprefix("<http://testserver")
    second = client.get(link)
    assert [entry["action"] for entry in second.json()] == ["POST /2", "POST /1"]
    last = client.get(second.headers["Link"].split(">")[0].removeprefix("<http://testserver"))
    assert ([entry["action"] for entry in last.json()], "Link" in last.headers) == (["POST /0"], False)


def test_the_api_takes_filters_and_refuses_unknown_ones(auditor: User, api: ApiClient) -> None:
    acted(2)
    acted(1, username="vera", address="192.0.2.5", action="login")
    Client().get("/tasks/all")
    client = api("admin", user=auditor)
    for query, actions in (
        ({"username": "vera"}, ["login"]),
        ({"address": "192.0.2.5"}, ["login"]),
        ({"action": "login"}, ["login"]),
        ({"refused": "true"}, ["GET /tasks/all"]),
        ({"status": "401"}, ["GET /tasks/all"]),
        ({"refused": "false"}, ["login", "POST /1", "POST /0"]),
    ):
        assert [entry["action"] for entry in client.get(AUDIT, query).json()] == actions, query
    assert client.get(AUDIT, {"user": "vera"}).status_code == 422
    for wrong in ({"address": "nowhere"}, {"address": "fe80::1%eth0"}, {"username": "a\0"}, {"action": "a\0"}, {"cursor": "-1"}):
        assert client.get(AUDIT, wrong).status_code == 422, wrong


def test_a_page_of_the_api_looks_through_a_bounded_number_of_entries(
    auditor: User, api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zenith_site.auth import audit_list

    monkeypatch.setattr(audit_list, "MAX_SCANNED", 3)
    acted(1, username="vera")
    acted(8)
    client = api("admin", user=auditor)
    address, found = f"{AUDIT}?username=vera", []
    asked = 0
    while True:
        asked += 1
        response = client.get(address)
        found += response.json()
        if "Link" not in response.headers:
            break
        address = response.headers["Link"].split(">")[0].removeprefix("<http://testserver")
    assert [entry["username"] for entry in found] == ["vera"]
    assert asked == 3


def test_the_log_takes_the_permission_of_its_page(api: ApiClient, auditor: User, member: User, admin: User) -> None:
    assert Client().get(AUDIT).status_code == 401
    assert api("read").get(AUDIT).status_code == 403
    assert api("admin", user=member).get(AUDIT).status_code == 403
    member.groups.add(Group.objects.get(name="operator"))
    assert api("admin", user=member).get(AUDIT).status_code == 403
    assert api("admin", user=auditor).get(AUDIT).status_code == 200
    assert api("admin").get(AUDIT).status_code == 200


def test_it_is_described(api: ApiClient) -> None:
    described = api("read").get("/openapi.json").json()["paths"][AUDIT]["get"]
    assert described["operationId"] == "list_audit_entries"
    assert "403" in described["responses"]


def test_the_page_gives_what_it_shows_as_a_file(auditor: User) -> None:
    acted(2)
    acted(1, username="=vera", detail={"revoked": 3})
    client = Client(headers=HTML)
    client.force_login(auditor)
    AuditEntry.objects.filter(action="login").delete()
    page = client.get("/admin/zenith_site/auditentry/?q=root").content.decode()
    assert "?q=root&amp;format=csv" in page
    assert "?q=root&amp;format=json" in page
    response = client.get("/admin/zenith_site/auditentry/?format=csv")
    assert response.headers["Content-Disposition"] == 'attachment; filename="audit-log.csv"'
    rows = list(csv.DictReader(io.StringIO(b"".join(response).decode())))  # type: ignore[arg-type]
    assert [row["action"] for row in rows] == ["POST /0", "POST /1", "POST /0"]
    assert rows[0]["username"] == "'=vera"
    found = json.loads(b"".join(client.get("/admin/zenith_site/auditentry/?q=root&format=json")))  # type: ignore[arg-type]
    assert [(row["username"], row["count"]) for row in found] == [("root", 1)] * 2


def test_the_file_takes_the_permission_of_its_page(member: User) -> None:
    client = Client(headers=HTML)
    for staff in (False, True):
        User.objects.update(is_staff=staff)
        client.force_login(User.objects.get())
        response = client.get("/admin/zenith_site/auditentry/?format=csv")
        assert response.status_code in (302, 403)
        assert "Content-Disposition" not in response.headers
