"""Every route, tried by a stranger, by a read token and by a member: nothing is open by accident.

A new route fails here until somebody has said who may use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tests.integration.conftest import ApiClient

UUID_ = str(UUID(int=0))

#: Route → method → status for a stranger, for a read token, for a session without permissions.
#: 302 is the way to the login; 403 for a session is a page that takes a permission.
DOORS: dict[str, dict[str, tuple[int, int, int]]] = {
    "login/": {"get": (200, 200, 302)},
    "logout/": {"post": (302, 302, 302), "get": (302, 302, 405)},
    "admin/login/": {"get": (302, 302, 403)},
    "": {"get": (302, 302, 200)},
    "run/": {"post": (302, 302, 403), "get": (302, 302, 405)},
    "tasks/<uuid:task_id>/": {"get": (302, 302, 404)},
    "openapi.json": {"get": (401, 200, 200)},
    "docs": {"get": (401, 200, 200)},
    "health": {"get": (200, 200, 200)},
    "tasks/trigger": {"post": (401, 403, 403), "get": (405, 405, 405)},
    "tasks/all": {"get": (401, 200, 200), "post": (405, 405, 405)},
    "task-status/<task_id>": {"get": (401, 404, 404), "delete": (405, 405, 405)},
    "api/v1/dead-letters": {"get": (401, 200, 200), "post": (405, 405, 405)},
    "api/v1/dead-letters/groups": {"get": (401, 200, 200), "post": (405, 405, 405)},
    "api/v1/dead-letters/replay": {"post": (401, 403, 422), "get": (405, 405, 405)},
    "api/v1/dead-letters/discard": {"post": (401, 403, 422), "get": (405, 405, 405)},
    "api/v1/dead-letters/runs/<run_id>": {"get": (401, 404, 404), "post": (405, 405, 405)},
    "api/v1/dead-letters/runs/<run_id>/stop": {"post": (401, 403, 403), "get": (405, 405, 405)},
    "api/v1/dead-letters/<task_id>": {"get": (401, 404, 404), "delete": (405, 405, 405)},
    "analytics/stats": {"get": (401, 200, 200), "post": (405, 405, 405)},
    "deploy": {"post": (401, 403, 403), "get": (405, 405, 405)},
    "api/inventory": {"get": (401, 503, 503)},
    "api/network": {"get": (401, 503, 503)},
    "api/v1/analytics/series": {"get": (401, 200, 200), "post": (405, 405, 405)},
    "api/v1/analytics/tasks": {"get": (401, 200, 200)},
    "api/v1/analytics/queues": {"get": (401, 200, 200)},
    "api/v1/analytics/heatmap": {"get": (401, 200, 200)},
    "api/v1/analytics/load": {"get": (401, 200, 200)},
    "api/v1/workers": {"get": (401, 200, 200), "post": (405, 405, 405)},
    "api/v1/workers/<name>": {"get": (401, 404, 404), "delete": (405, 405, 405)},
    "api/v1/workers/<name>/ping": {"post": (401, 403, 403), "get": (405, 405, 405)},
    "api/v1/workers/<name>/grow": {"post": (401, 403, 403), "get": (405, 405, 405)},
    "api/v1/workers/<name>/shrink": {"post": (401, 403, 403), "get": (405, 405, 405)},
    "api/v1/workers/<name>/autoscale": {"post": (401, 403, 422), "get": (405, 405, 405)},
    "api/v1/workers/<name>/add-queue": {"post": (401, 403, 422), "get": (405, 405, 405)},
    "api/v1/workers/<name>/cancel-queue": {"post": (401, 403, 422), "get": (405, 405, 405)},
    "api/v1/workers/<name>/time-limit": {"post": (401, 403, 422), "get": (405, 405, 405)},
    "api/v1/workers/<name>/rate-limit": {"post": (401, 403, 422), "get": (405, 405, 405)},
    "api/v1/workers/<name>/drain": {"post": (401, 403, 403), "get": (405, 405, 405)},
    "api/v1/workers/<name>/restart-pool": {"post": (401, 403, 403), "get": (405, 405, 405)},
    "api/v1/workers/<name>/shut-down": {"post": (401, 403, 403), "get": (405, 405, 405)},
    "api/v1/queues": {"get": (401, 200, 200), "post": (405, 405, 405)},
    "api/v1/queues/<name>": {"get": (401, 404, 404), "delete": (405, 405, 405)},
    "api/v1/queues/<name>/messages": {"get": (401, 200, 200)},
    "api/v1/queues/<name>/history": {"get": (401, 200, 200)},
    "api/v1/queues/<name>/pause": {"post": (401, 403, 403), "get": (405, 405, 405)},
    "api/v1/queues/<name>/resume": {"post": (401, 403, 403), "get": (405, 405, 405)},
    "api/v1/queues/<name>/purge": {"post": (401, 403, 403), "get": (405, 405, 405)},
    "api/v1/events": {"get": (401, 200, 200), "post": (405, 405, 405)},
    "api/v1/catalogue": {"get": (401, 200, 200), "post": (405, 405, 405)},
    "api/v1/catalogue/<name>": {"get": (401, 404, 404)},
}


def routes(patterns: Any, prefix: str = "") -> Iterator[str]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route


ROUTES = sorted(set(routes(get_resolver().url_patterns)))
ADMIN = [route for route in ROUTES if route.startswith("admin/") and route != "admin/login/"]
OTHERS = [route for route in ROUTES if not route.startswith("admin/") or route == "admin/login/"]


def path_of(route: str) -> str:
    for name, value in {
        "<uuid:task_id>": UUID_, "<task_id>": UUID_, "<run_id>": UUID_, "<path:object_id>": "1", "<int:content_type_id>": "1",
        "<path:object_path>": "1", "<id>": "1", "<name>": "nobody",
    }.items():  # fmt: skip
        route = route.replace(name, value)
    return "/" + route.removesuffix("$").replace(r"\Z", "")


@pytest.mark.parametrize("route", OTHERS)
def test_every_route_is_in_the_table_and_answers_as_it_says(route: str, api: ApiClient, member: Any) -> None:
    assert route in DOORS, f"say in DOORS who may use {route!r}"
    session = Client()
    session.force_login(member)
    for method, expected in DOORS[route].items():
        path = path_of(route)
        kind = {"content_type": "application/json"} if method == "post" else {}
        clients = (Client(), api("read"), session)
        answers = tuple(getattr(client, method)(path, **kind).status_code for client in clients)
        assert answers == expected, f"{method} {path}"
        session.force_login(member)  # logging out is among what is tried


def test_the_table_names_no_route_that_is_gone() -> None:
    assert DOORS.keys() <= set(ROUTES)


@pytest.mark.parametrize("route", ADMIN)
def test_the_admin_sends_strangers_tokens_and_members_away(route: str, api: ApiClient, member: Any) -> None:
    path = path_of(route).replace("(?P<app_label>auth|django_celery_results|tasks_app|zenith_site)", "auth")
    session = Client()
    session.force_login(member)
    for client in (Client(), api("read"), session):
        response = client.get(path)
        assert response.status_code in (302, 404, 405), path
        if response.status_code == 302:
            assert response.headers["Location"].startswith(("/admin/", "/login/"))


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
