"""Every route and every socket, tried by everybody: nothing is open by accident.

A new route, and a new method of an old one, fails here until somebody has said in DOORS who may use it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Group, User
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from tasks_app.web.routing import websocket_urlpatterns
from zenith_site.auth.sockets import SocketAuth
from zenith_site.auth.tokens import create_token
from zenith_site.env import Rate
from zenith_site.models import ApiToken, AuditEntry

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

UUID_ = str(UUID(int=0))
METHODS = ("get", "post", "put", "patch", "delete")
STRANGERS = ("anonymous", "expired", "revoked")
PEOPLE = ("viewer", "operator", "admin")
TOKENS = ("read", "dispatch")
EVERYBODY = (*STRANGERS, *PEOPLE, *TOKENS)


def kind(allowed: str, *, stranger: int, token: int = 403, person: int = 403) -> dict[str, int | None]:
    """Who may, and the status for the others; None: may, so whatever the view says but 401, 403 and the way to the login."""
    refused = {**dict.fromkeys(STRANGERS, stranger), **dict.fromkeys(PEOPLE, person), **dict.fromkeys(TOKENS, token)}
    return {**refused, **dict.fromkeys(allowed.split())}


# Operations of the API, by the permission that they take.
READ_API = kind("viewer operator admin read", stranger=401)
DISPATCH_API = kind("operator admin dispatch", stranger=401)
OPERATE_API = kind("operator admin", stranger=401)
INFRA_API = kind("admin", stranger=401)
OWN_TOKENS_API = kind("viewer operator admin", stranger=401)
ANY_API = kind("viewer operator admin read dispatch", stranger=401)
OPEN = kind(" ".join(EVERYBODY), stranger=200)
# Pages take a session: whoever brings a token is a stranger.
PAGE = kind("viewer operator admin", stranger=302, token=302)
DISPATCH_PAGE = kind("operator admin", stranger=302, token=302)
OPERATE_PAGE = DISPATCH_PAGE
INFRA_PAGE = kind("admin", stranger=302, token=302)
LOGIN = kind("anonymous expired revoked read dispatch", stranger=200, person=302)
LOGOUT = kind("", stranger=302, token=302, person=302)
ADMIN_LOGIN = kind("", stranger=302, token=302, person=403)

RULE = {"name": "Mine", "subject": "failures"}
#: Route → method → who may; with a body that is right where one is needed. Of methods that are not named, the answer is 405.
DOORS: dict[str, dict[str, Any]] = {
    "login/": {"get": LOGIN, "post": LOGIN},
    "logout/": {"post": LOGOUT},
    "admin/login/": {"get": ADMIN_LOGIN},
    "": {"get": PAGE},
    "run/": {"post": DISPATCH_PAGE},
    "settings/": {"get": PAGE},
    "settings/profile/": {"post": PAGE},
    "settings/theme/": {"post": PAGE},
    "settings/password/": {"get": PAGE, "post": PAGE},
    "settings/configuration/": {"get": INFRA_PAGE},
    "settings/audit/": {"get": INFRA_PAGE},
    "settings/users/": {"get": INFRA_PAGE},
    "settings/users/new/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "settings/users/<int:user_id>/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "settings/users/<int:user_id>/active/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "settings/users/<int:user_id>/password/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "settings/tokens/": {"get": PAGE, "post": PAGE},
    "settings/tokens/<int:token_id>/revoke/": {"get": PAGE, "post": PAGE},
    "notifications/": {"get": PAGE},
    "notifications/read/": {"post": PAGE},
    "notifications/<int:notification_id>/mute/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "notifications/rules/": {"get": PAGE},
    "notifications/rules/new/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "notifications/rules/<int:rule_id>/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "notifications/rules/<int:rule_id>/mute/": {"post": OPERATE_PAGE},
    "notifications/rules/<int:rule_id>/test/": {"post": OPERATE_PAGE},
    "notifications/rules/<int:rule_id>/remove/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "notifications/channels/": {"get": INFRA_PAGE},
    "notifications/channels/new/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "notifications/channels/<uuid:channel_id>/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "notifications/channels/<uuid:channel_id>/remove/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "notifications/channels/test/<slug:key>/": {"post": INFRA_PAGE},
    "nav/counts/": {"get": PAGE},
    "find/": {"get": PAGE},
    "tasks/": {"get": PAGE},
    "tasks/views/new/": {"get": PAGE, "post": PAGE},
    "tasks/views/<int:view_id>/": {"get": PAGE, "post": PAGE},
    "tasks/views/<int:view_id>/delete/": {"get": PAGE, "post": PAGE},
    "tasks/act/<slug:verb>/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "tasks/<uuid:task_id>/": {"get": PAGE},
    "tasks/<uuid:task_id>/log/": {"get": PAGE},
    "tasks/<uuid:task_id>/peek/": {"get": PAGE},
    "tasks/<uuid:task_id>/values/<slug:value>/": {"get": PAGE},
    "tasks/by-id/<name:celery_id>/": {"get": PAGE},
    "tasks/<uuid:task_id>/edit/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "tasks/<uuid:task_id>/now/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "workflows/": {"get": PAGE},
    "workflows/<uuid:workflow_id>/": {"get": PAGE},
    "workflows/<uuid:workflow_id>/cancel/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "workflows/<uuid:workflow_id>/bodies/<uuid:task_id>/run/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "dispatch/": {"get": DISPATCH_PAGE, "post": DISPATCH_PAGE},
    "dead-letters/": {"get": PAGE},
    "dead-letters/replay/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "dead-letters/discard/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "dead-letters/runs/<uuid:run_id>/stop/": {"post": OPERATE_PAGE},
    "dead-letters/<name:fingerprint>/": {"get": PAGE},
    "analytics/": {"get": PAGE},
    "events/": {"get": PAGE},
    "workers/": {"get": PAGE},
    "workers/<name:name>/": {"get": PAGE},
    "clear-workers/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "workers/<name:name>/clear/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "workers/<name:name>/<slug:command>/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "choose-application/": {"post": PAGE},
    "applications/": {"get": PAGE},
    "applications/<name:name>/": {"get": PAGE},
    "applications/<name:name>/diagnosis/": {"get": PAGE},
    "applications/new/watch/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "applications/<name:name>/watching/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "applications/<name:name>/end-watching/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "queues/": {"get": PAGE},
    "queues/pause/<name:name>/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "queues/resume/<name:name>/": {"post": OPERATE_PAGE},
    "queues/purge/<name:name>/": {"get": OPERATE_PAGE, "post": OPERATE_PAGE},
    "queues/of/<name:name>/": {"get": PAGE},
    "nodes/": {"get": PAGE},
    "nodes/deploy/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "nodes/act/<slug:verb>/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "nodes/hosts/<name:name>/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "nodes/hosts/<name:name>/forget/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "nodes/groups/<uuid:group_id>/": {"get": PAGE},
    "nodes/groups/<uuid:group_id>/scale/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "nodes/groups/<uuid:group_id>/change/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "nodes/groups/<uuid:group_id>/autoscale/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "nodes/groups/<uuid:group_id>/remove/": {"get": INFRA_PAGE, "post": INFRA_PAGE},
    "nodes/<uuid:node_id>/": {"get": PAGE},
    "nodes/<uuid:node_id>/log/": {"get": PAGE},
    "inventory/": {"get": PAGE},
    "network/": {"get": PAGE},
    "openapi.json": {"get": ANY_API},
    "docs": {"get": ANY_API},
    "health": {"get": OPEN},
    "ready": {"get": OPEN},
    "metrics": {"get": OPEN},
    "tasks/trigger": {"post": DISPATCH_API},
    "tasks/all": {"get": READ_API},
    "task-status/<name:task_id>": {"get": READ_API},
    "api/v1/dead-letters": {"get": READ_API},
    "api/v1/dead-letters/groups": {"get": READ_API},
    "api/v1/dead-letters/replay": {"post": (OPERATE_API, {"all": True})},
    "api/v1/dead-letters/discard": {"post": (OPERATE_API, {"all": True})},
    "api/v1/dead-letters/runs/<run_id>": {"get": READ_API},
    "api/v1/dead-letters/runs/<run_id>/stop": {"post": OPERATE_API},
    "api/v1/dead-letters/<name:task_id>": {"get": READ_API},
    "api/v1/audit-entries": {"get": INFRA_API},
    "api/v1/tokens": {"get": OWN_TOKENS_API, "post": (OWN_TOKENS_API, {"name": "new", "scopes": ["read"]})},
    "api/v1/tokens/<token_id>": {"delete": OWN_TOKENS_API},
    "api/v1/tasks": {"get": READ_API, "post": (DISPATCH_API, {"dispatches": [{"task": "analyze_text"}]})},
    "api/v1/tasks/cancel": {"post": (OPERATE_API, {"ids": [UUID_]})},
    "api/v1/tasks/<name:task_id>": {"get": READ_API, "patch": (OPERATE_API, {"priority": 1})},
    "api/v1/tasks/<name:task_id>/values/<value>": {"get": READ_API},
    "api/v1/tasks/<name:task_id>/logs": {"get": READ_API},
    "api/v1/tasks/<name:task_id>/cancel": {"post": OPERATE_API},
    "api/v1/tasks/<name:task_id>/retry": {"post": OPERATE_API},
    "api/v1/workflows": {"get": READ_API},
    "api/v1/workflows/<workflow_id>": {"get": READ_API},
    "api/v1/workflows/<workflow_id>/cancel": {"post": OPERATE_API},
    "api/v1/workflows/<workflow_id>/bodies/<task_id>/run": {"post": OPERATE_API},
    "api/v1/batches": {"get": READ_API},
    "api/v1/batches/<batch_id>": {"get": READ_API},
    "api/v1/batches/<batch_id>/cancel": {"post": OPERATE_API},
    "analytics/stats": {"get": READ_API},
    "deploy": {"post": INFRA_API},
    "api/inventory": {"get": READ_API},
    "api/network": {"get": READ_API},
    "api/v1/nodes": {"get": READ_API},
    "api/v1/nodes/act": {"post": (INFRA_API, {"verb": "drain", "ids": [UUID_]})},
    "api/v1/nodes/<node_id>": {"get": READ_API},
    "api/v1/nodes/<node_id>/events": {"get": READ_API},
    "api/v1/nodes/<node_id>/samples": {"get": READ_API},
    "api/v1/nodes/<node_id>/logs": {"get": READ_API},
    "api/v1/nodes/<node_id>/<verb>": {"post": INFRA_API},
    "api/v1/groups": {"get": READ_API},
    "api/v1/groups/<group_id>": {"get": READ_API, "patch": (INFRA_API, {}), "delete": INFRA_API},
    "api/v1/groups/<group_id>/scale": {"post": (INFRA_API, {"replicas": 1})},
    "api/v1/groups/<group_id>/autoscale": {"put": (INFRA_API, {"max_replicas": 1})},
    "api/v1/hosts": {"get": READ_API},
    "api/v1/hosts/<name:name>": {"get": READ_API, "patch": (INFRA_API, {}), "delete": INFRA_API},
    "api/v1/analytics/series": {"get": READ_API},
    "api/v1/analytics/tasks": {"get": READ_API},
    "api/v1/analytics/queues": {"get": READ_API},
    "api/v1/analytics/heatmap": {"get": READ_API},
    "api/v1/analytics/load": {"get": READ_API},
    "api/v1/workers": {"get": READ_API, "delete": OPERATE_API},
    "api/v1/workers/<name:name>": {"get": READ_API, "delete": OPERATE_API},
    "api/v1/workers/<name:name>/ping": {"post": OPERATE_API},
    "api/v1/workers/<name:name>/grow": {"post": OPERATE_API},
    "api/v1/workers/<name:name>/shrink": {"post": OPERATE_API},
    "api/v1/workers/<name:name>/autoscale": {"post": (OPERATE_API, {"maximum": 2, "minimum": 1})},
    "api/v1/workers/<name:name>/add-queue": {"post": (OPERATE_API, {"queue": "q"})},
    "api/v1/workers/<name:name>/cancel-queue": {"post": (OPERATE_API, {"queue": "q"})},
    "api/v1/workers/<name:name>/time-limit": {"post": (OPERATE_API, {"task": "t", "hard": 10})},
    "api/v1/workers/<name:name>/rate-limit": {"post": (OPERATE_API, {"task": "t", "rate": "1/s"})},
    "api/v1/workers/<name:name>/drain": {"post": OPERATE_API},
    "api/v1/workers/<name:name>/restart-pool": {"post": OPERATE_API},
    "api/v1/workers/<name:name>/shut-down": {"post": OPERATE_API},
    "api/v1/applications": {"get": READ_API},
    "api/v1/applications/<name:name>": {"get": READ_API},
    "api/v1/applications/<name:name>/diagnosis": {"get": READ_API},
    "api/v1/applications/<name:name>/watching": {
        "post": (INFRA_API, {"url": "redis://h", "test": False}),
        "patch": (INFRA_API, {"test": False}),
        "delete": INFRA_API,
    },
    "api/v1/queues": {"get": READ_API},
    "api/v1/queues/<name:name>": {"get": READ_API},
    "api/v1/queues/<name:name>/messages": {"get": READ_API},
    "api/v1/queues/<name:name>/history": {"get": READ_API},
    "api/v1/queues/<name:name>/pause": {"post": OPERATE_API},
    "api/v1/queues/<name:name>/resume": {"post": OPERATE_API},
    "api/v1/queues/<name:name>/purge": {"post": OPERATE_API},
    "api/v1/events": {"get": READ_API},
    "api/v1/catalogue": {"get": READ_API},
    "api/v1/catalogue/<name:name>": {"get": READ_API},
    "api/v1/notifications": {"get": READ_API},
    "api/v1/notifications/read": {"post": (READ_API, {"all": True})},
    "api/v1/notifications/<id>": {"get": READ_API},
    "api/v1/notifications/<id>/mute": {"post": (OPERATE_API, {"until": None})},
    "api/v1/notification-channels": {"get": OPERATE_API},
    "api/v1/notification-rules": {"get": READ_API, "post": (OPERATE_API, RULE)},
    "api/v1/notification-rules/preview": {"post": (OPERATE_API, RULE)},
    "api/v1/notification-rules/<rule_id>": {"get": READ_API, "put": (OPERATE_API, RULE), "delete": OPERATE_API},
    "api/v1/notification-rules/<rule_id>/test": {"post": OPERATE_API},
}
#: Views that look at no method, or send people with a session away first.
ANY_METHOD = {"login/", "admin/login/", "openapi.json", "docs"}
SOCKETS = ("ws/tasks", "ws/page", "ws/page/overview")


def patterns_of(patterns: Any, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from patterns_of(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route, pattern


PATTERNS = list(patterns_of(get_resolver().url_patterns))
ROUTES = sorted({route for route, _ in PATTERNS})
ADMIN = [route for route in ROUTES if route.startswith("admin/") and route != "admin/login/"]
OTHERS = [route for route in ROUTES if not route.startswith("admin/") or route == "admin/login/"]


def path_of(route: str) -> str:
    for name, value in {
        "<uuid:task_id>": UUID_, "<slug:verb>": "cancel", "<uuid:run_id>": UUID_, "<name:fingerprint>": "none",
        "<slug:value>": "args", "<value>": "args",
        "<int:token_id>": "0", "<int:view_id>": "0", "<int:notification_id>": "0", "<int:rule_id>": "0", "<rule_id>": "0",
        "<int:user_id>": "0", "<uuid:channel_id>": UUID_, "<slug:key>": "none",
        "<name:celery_id>": UUID_, "<name:task_id>": UUID_,
        "<name:name>": "nobody", "<slug:command>": "grow",
        "<task_id>": UUID_, "<node_id>": UUID_, "<group_id>": UUID_, "<verb>": "drain",
        "<uuid:node_id>": UUID_, "<uuid:group_id>": UUID_, "<uuid:workflow_id>": UUID_, "<workflow_id>": UUID_,
        "<run_id>": UUID_, "<path:object_id>": "1", "<int:content_type_id>": "1",
        "<path:object_path>": "1", "<batch_id>": UUID_, "<id>": "1", "<token_id>": "0",
    }.items():  # fmt: skip
        route = route.replace(name, value)
    return "/" + route.removesuffix("$").replace(r"\Z", "")


class Visitors:
    """A client for each of EVERYBODY; users and tokens are made once for all tests, which roll back what they do."""

    def __init__(self) -> None:
        people = {role: self._user(role) for role in PEOPLE}
        # Tokens of the admin's, who may everything that the scopes cover.
        self._clients = {name: self._holder(people["admin"], name, [name]) for name in TOKENS}
        for name in ("expired", "revoked"):
            self._clients[name] = self._holder(people["admin"], name, ["read", "dispatch", "operate"])
        ApiToken.objects.filter(name="expired").update(expires_at=timezone.now() - timedelta(seconds=1))
        ApiToken.objects.filter(name="revoked").update(revoked_at=timezone.now())
        for who in (*PEOPLE, "anonymous"):
            self._clients[who] = Client(raise_request_exception=False)
        for role, user in people.items():
            self._clients[role].force_login(user)
        self._cookies = {who: client.cookies.output(attrs=[], header="") for who, client in self._clients.items()}

    def client(self, who: str) -> Client:
        """A client as it was at first, whatever it was answered before."""
        self._clients[who].cookies = SimpleCookie(self._cookies[who])
        return self._clients[who]

    def headers(self, who: str) -> list[tuple[bytes, bytes]]:
        """What that client sends with a handshake."""
        client = self.client(who)
        key = client.defaults.get("HTTP_X_API_KEY", "")
        return [(b"x-api-key", key.encode())] * bool(key) + [(b"cookie", self._cookies[who].encode())] * (who in PEOPLE)

    @staticmethod
    def _user(role: str) -> User:
        """One with that role; none is a superuser."""
        user = User.objects.create_user(role, password="a long enough one", is_staff=role == "admin")
        user.groups.add(Group.objects.get(name=role))
        return user

    @staticmethod
    def _holder(user: User, name: str, scopes: list[str]) -> Client:
        return Client(headers={"X-API-Key": create_token(user, name, scopes)[1]}, raise_request_exception=False)


@pytest.fixture(scope="module")
def everybody(django_db_setup: Any, django_db_blocker: Any) -> Iterator[Visitors]:
    with django_db_blocker.unblock():
        yield Visitors()
        django_db_setup()


@pytest.fixture
def visitors(everybody: Visitors, db: None, settings: SettingsWrapper) -> Visitors:
    # They are refused more often than anybody may be.
    settings.ZENITH_REFUSAL_RATE_LIMIT = Rate(1_000_000, 1)
    return everybody


def ask(client: Client, method: str, path: str, body: object = None) -> Any:
    if method == "get":
        return client.get(path)
    given = {} if body is None else {"data": json.dumps(body)}
    return getattr(client, method)(path, content_type="application/json", **given)


def said(row: Any) -> tuple[dict[str, int | None], object]:
    """A row's kind and body."""
    return row if isinstance(row, tuple) else (row, None)


def is_let_in(response: Any) -> bool:
    to_login = response.status_code == 302 and response.headers["Location"].startswith("/login/")
    return response.status_code not in (401, 403) and not to_login and (response.status_code < 500 or response.status_code == 503)


def may_not_be_kept(response: Any) -> bool:
    """Whether caches may not keep an answer: none of them knows that it was for one caller only."""
    return "no-store" in response.headers["Cache-Control"]


@pytest.mark.parametrize("route", OTHERS)
def test_every_route_is_in_the_table_and_answers_as_it_says(route: str, visitors: Visitors) -> None:
    assert route in DOORS, f"say in DOORS who may use {route!r}"
    for method, row in DOORS[route].items():
        expected, body = said(row)
        for who in EVERYBODY:
            response = ask(visitors.client(who), method, path_of(route), body)
            wanted = expected[who]
            found = f"{method} /{route} as {who}: {response.status_code}"
            assert is_let_in(response) if wanted is None else response.status_code == wanted, found
            assert may_not_be_kept(response), found


@pytest.mark.parametrize("route", [route for route in OTHERS if route not in ANY_METHOD])
def test_it_takes_no_other_method(route: str, visitors: Visitors) -> None:
    client = visitors.client("admin")
    for method in METHODS:
        if method not in DOORS.get(route, {}):
            assert ask(client, method, path_of(route)).status_code == 405, f"say in DOORS who may {method} {route!r}"


def test_the_table_names_no_route_that_is_gone() -> None:
    assert DOORS.keys() <= set(ROUTES)


@pytest.mark.parametrize("route", ADMIN)
def test_the_admin_sends_everybody_else_away(route: str, visitors: Visitors) -> None:
    path = path_of(route).replace("(?P<app_label>auth|django_celery_results|tasks_app|zenith_site)", "auth")
    for who in ("anonymous", "viewer", "operator", "read"):
        response = visitors.client(who).get(path)
        assert response.status_code in (302, 404, 405), f"{path} as {who}"
        assert may_not_be_kept(response), f"{path} as {who}"
        if response.status_code == 302:
            assert response.headers["Location"].startswith(("/admin/", "/login/"))


@pytest.mark.parametrize(
    ("model", "status"),
    [
        ("auth/user", 200),
        ("auth/group", 200),
        ("zenith_site/apitoken", 200),
        ("zenith_site/auditentry", 200),
        ("tasks_app/task", 200),
    ],
)
def test_the_admin_lets_the_role_admin_in(model: str, status: int, visitors: Visitors) -> None:
    response = visitors.client("admin").get(f"/admin/{model}/")
    assert response.status_code == status
    assert may_not_be_kept(response)


MUTATING = [
    (route, method)
    for route, row in DOORS.items()
    for method in row
    if method != "get" and route not in ("login/", "logout/")  # those are told of by signals: test_auth_audit.py
]


@pytest.mark.parametrize(("route", "method"), MUTATING)
def test_whatever_changes_something_is_in_the_audit_log(
    route: str, method: str, visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def done(request: HttpRequest, **_: Any) -> HttpResponse:
        return HttpResponse()

    for known, pattern in PATTERNS:
        if known == route:
            monkeypatch.setattr(pattern, "callback", done)
    client = visitors.client("admin")
    AuditEntry.objects.all().delete()
    assert ask(client, method, path_of(route)).status_code == 200
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.username, entry.status) == (f"{method.upper()} /{route}", "admin", 200)
    assert (entry.path, entry.address) == (path_of(route), "127.0.0.1")


def test_the_table_of_sockets_is_complete() -> None:
    assert sorted(str(pattern.pattern) for pattern in websocket_urlpatterns) == sorted(SOCKETS)


@pytest.mark.parametrize("route", SOCKETS)
@pytest.mark.parametrize("who", EVERYBODY)
async def test_every_socket_opens_to_those_who_may_look(route: str, who: str, visitors: Visitors) -> None:
    origin = [(b"host", b"localhost"), (b"origin", b"http://localhost")]
    headers = [*origin, *visitors.headers(who)]
    socket = WebsocketCommunicator(SocketAuth(URLRouter(websocket_urlpatterns)), f"/{route}", headers=headers)
    try:
        assert (await socket.connect(timeout=10))[0]
        if who in STRANGERS or who == "dispatch":
            closed = await socket.receive_output(timeout=10)
            assert (closed["type"], closed["code"]) == ("websocket.close", 4403 if who == "dispatch" else 4401)
        else:
            await socket.send_to(text_data=json.dumps({"type": "PING"}))
            async with asyncio.timeout(10):
                while await socket.receive_from(timeout=10) != '{"type":"PONG"}':
                    pass
            await socket.disconnect(timeout=10)
    finally:
        await asyncio.to_thread(connections.close_all)


def test_a_stranger_comes_back_to_the_page_after_the_login(admin: Any) -> None:
    client = Client()
    assert client.get("/admin/", follow=True).redirect_chain[-1][0] == "/login/?next=/admin/"
    form = {"username": "root", "password": "a long enough one", "next": "/admin/"}
    response = client.post("/login/", form)
    assert (response.status_code, response.headers["Location"]) == (302, "/admin/")


def test_the_login_leads_nowhere_else(admin: Any) -> None:
    form = {"username": "root", "password": "a long enough one", "next": "https://evil.example/"}
    assert Client().post("/login/", form).headers["Location"] == "/"


def test_a_wrong_password_opens_nothing(admin: Any) -> None:
    client = Client()
    response = client.post("/login/", {"username": "root", "password": "guess"})
    assert response.status_code == 200
    assert client.get("/").status_code == 302


def test_someone_who_is_deactivated_is_out_at_once(member: Any) -> None:
    client = Client()
    client.force_login(member)
    assert client.get("/tasks/all").status_code == 200
    member.is_active = False
    member.save()
    assert client.get("/tasks/all").status_code == 401
