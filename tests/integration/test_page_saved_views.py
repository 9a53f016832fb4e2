"""Saved views of the task list: private and shared ones, and who may see and change them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from tasks_app.control import saved_views
from tasks_app.models import Application, SavedView
from zenith_site.models import ApplicationLimit, AuditEntry

pytestmark = pytest.mark.django_db(transaction=True)

FAILED = {"q": "status:FAILURE", "sort": "-runtime", "columns": "queue,runtime"}
People = Callable[..., Client]


@pytest.fixture
def people() -> People:
    """Makes people with a role, who may be limited to applications."""

    def make(name: str, role: str = "operator", *applications: str) -> Client:
        user = User.objects.create_user(name, password="a long enough one")
        user.groups.add(Group.objects.get(name=role))
        if applications:
            ApplicationLimit.objects.create(user=user, applications=list(applications))
        client = Client(headers={"Accept": "text/html"})
        client.force_login(user)
        return client

    return make


def save(client: Client, name: str, **more: str) -> Any:
    return client.post("/tasks/views/new/", {"name": name, **FAILED, **more})


def seen(client: Client) -> list[str]:
    return [view["label"] for view in client.get("/tasks/?application=").context["views"]]


def test_a_view_keeps_filter_order_and_columns_and_is_lit(people: People) -> None:
    olga = people("olga")
    saved = save(olga, "Slow failures")
    assert saved.status_code == 302
    shown = olga.get(saved.headers["Location"])
    assert [(view["label"], view["current"]) for view in shown.context["views"]] == [("Slow failures", True)]
    assert shown.context["sort"] == "-runtime"
    assert [column.key for column in shown.context["columns"]] == ["queue", "runtime"]
    assert not olga.get("/tasks/").context["views"][0]["current"]


def test_saved_again_under_its_name_it_is_replaced(people: People) -> None:
    olga = people("olga")
    save(olga, "Mine")
    save(olga, "Mine", q="status:RETRY")
    assert "RETRY" in SavedView.objects.get().query


def test_a_private_view_is_nobody_elses(people: People) -> None:
    olga, ivan = people("olga"), people("ivan", "admin")
    save(olga, "Mine")
    view = SavedView.objects.get()
    assert (seen(olga), seen(ivan)) == (["Mine"], [])
    for path in (f"/tasks/views/{view.pk}/", f"/tasks/views/{view.pk}/delete/"):
        assert ivan.get(path).status_code == 404
        assert ivan.post(path, {"name": "Yours"}).status_code == 404
    assert SavedView.objects.get().name == "Mine"


def test_a_shared_view_is_everybodys_and_operators_change_it(people: People) -> None:
    olga, ivan, vera = people("olga"), people("ivan"), people("vera", "viewer")
    save(olga, "Ours", shared="on")
    view = SavedView.objects.get()
    assert seen(olga) == seen(ivan) == seen(vera) == ["Ours"]
    assert vera.post(f"/tasks/views/{view.pk}/", {"name": "Mine now"}).status_code == 403
    assert vera.post(f"/tasks/views/{view.pk}/delete/").status_code == 403
    assert ivan.post(f"/tasks/views/{view.pk}/", {"name": "Renamed", "shared": "on"}).status_code == 302
    assert seen(vera) == ["Renamed"]
    assert "Nobody will see it" in ivan.get(f"/tasks/views/{view.pk}/delete/").content.decode()
    ivan.post(f"/tasks/views/{view.pk}/delete/")
    assert seen(olga) == []


def test_whoever_may_only_look_saves_private_views_only(people: People) -> None:
    vera = people("vera", "viewer")
    assert "shared" not in vera.get("/tasks/views/new/").content.decode()
    save(vera, "Mine", shared="on")
    assert not SavedView.objects.get().is_shared


def test_what_is_shared_is_in_the_audit_log(people: People) -> None:
    save(people("olga"), "Ours", shared="on")
    entry = AuditEntry.objects.get(path="/tasks/views/new/")
    assert entry.detail == {"view": SavedView.objects.get().pk, "shared": True}


def test_limited_people_see_only_shared_views_of_their_applications(people: People) -> None:
    for name in ("florist", "clinic"):
        Application.objects.create(name=name, kind="attached")
    olga, flora = people("olga"), people("flora", "operator", "florist")
    save(olga, "All of it", shared="on")
    save(olga, "Clinic", shared="on", application="clinic")
    save(olga, "Flowers", shared="on", application="florist")
    assert seen(flora) == ["Flowers"]
    hidden = SavedView.objects.get(name="Clinic")
    assert flora.get(f"/tasks/views/{hidden.pk}/").status_code == 404
    refused = save(flora, "Everything", shared="on")
    assert refused.status_code == 422
    assert "choose one application" in refused.content.decode()
    assert save(flora, "Ours", shared="on", application="florist").status_code == 302
    # A view of another application may have the same name: it is not replaced, and they do not learn of it.
    save(flora, "Clinic", shared="on", application="florist")
    assert SavedView.objects.filter(name="Clinic").count() == 2


def test_there_is_an_end_to_them(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_views, "MOST_OWN", 2)
    monkeypatch.setattr(saved_views, "MOST_SHARED", 1)
    olga = people("olga")
    for name, more in (("a", {}), ("b", {}), ("c", {"shared": "on"})):
        assert save(olga, name, **more).status_code == 302
    for name, more in (("d", {}), ("e", {"shared": "on"})):
        assert save(olga, name, **more).status_code == 422
    assert save(olga, "a").status_code == 302
    own = SavedView.objects.get(name="a")
    assert olga.post(f"/tasks/views/{own.pk}/", {"name": "a", "shared": "on"}).status_code == 422


@pytest.mark.parametrize("more", [{"q": "colour:red"}, {"status": "GONE"}, {"sort": "colour"}, {"q": "args.password:hunter2"}])
def test_what_cannot_be_searched_by_everybody_is_not_saved(more: dict[str, str], people: People) -> None:
    assert save(people("olga"), "Odd", **more).status_code == 404
    assert not SavedView.objects.exists()


@pytest.mark.parametrize("name", ["", "x" * 61])
def test_a_name_has_to_be_one(name: str, people: People) -> None:
    assert save(people("olga"), name).status_code == 422


def test_two_views_do_not_get_one_name(people: People) -> None:
    olga = people("olga")
    save(olga, "a")
    save(olga, "b")
    view = SavedView.objects.get(name="b")
    assert olga.post(f"/tasks/views/{view.pk}/", {"name": "a"}).status_code == 422


def test_a_person_who_is_deleted_takes_private_views_along(people: People) -> None:
    olga = people("olga")
    save(olga, "Mine")
    save(olga, "Ours", shared="on")
    User.objects.get(username="olga").delete()
    assert [view.name for view in SavedView.objects.all()] == ["Ours"]
