"""Users without the admin: who may change whom, what a change ends, and that somebody who may administer remains."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client

from zenith_site.auth import people
from zenith_site.auth.tokens import create_token
from zenith_site.common.errors import StateConflictError
from zenith_site.models import ApplicationLimit, AuditEntry

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "a long enough one"


def somebody(name: str, role: str = "", **fields: Any) -> User:
    user = User.objects.create_user(name, password=PASSWORD, **fields)
    if role:
        user.groups.add(Group.objects.get(name=role))
    return user


def browser(user: User) -> Client:
    client = Client(headers={"Accept": "text/html"})
    client.force_login(user)
    return client


@pytest.fixture
def ada() -> User:
    """An administrator who is no superuser."""
    return somebody("ada", "admin")


@pytest.fixture
def page(ada: User) -> Client:
    return browser(ada)


def last_audit() -> Any:
    return AuditEntry.objects.filter(action__startswith="POST /settings", refusal=None).latest("id").detail


def test_a_user_is_made_with_a_password_that_is_shown_once(page: Client) -> None:
    fields = {"username": "olga", "email": "olga@example.com", "role": "operator"}
    text = page.post("/settings/users/new/", fields, follow=True).content.decode()
    password = re.search(r"The password of olga is ([\w-]{20})", text)
    assert password
    olga = User.objects.get(username="olga")
    assert people.role_of(olga) == "operator"
    assert not olga.is_staff
    assert Client().login(username="olga", password=password[1])
    assert last_audit()["created"] == "olga"
    assert password[1] not in str(AuditEntry.objects.values())
    assert password[1] not in page.get(f"/settings/users/{olga.pk}/").content.decode()


@pytest.mark.parametrize(
    "changes",
    [{"username": ""}, {"username": "ada"}, {"username": "<b>x</b>"}, {"username": "x" * 151}, {"role": "root"}, {"email": "x"}],
)
def test_what_is_wrong_makes_nobody(changes: dict[str, str], page: Client) -> None:
    response = page.post("/settings/users/new/", {"username": "olga", "role": "viewer", **changes})
    assert response.status_code == 422
    assert User.objects.count() == 1


def test_a_changed_role_and_limit_count_from_the_next_request_on(page: Client) -> None:
    from tasks_app.models import Application
    from tasks_app.models.task_keys import forget_applications

    Application.objects.create(name="florist", kind="attached")
    forget_applications()
    olga = somebody("olga", "viewer")
    hers = browser(olga)
    assert hers.get("/dispatch/").status_code == 403
    assert page.post(f"/settings/users/{olga.pk}/", {"role": "operator"}).status_code == 302
    assert hers.get("/dispatch/").status_code == 200
    page.post(f"/settings/users/{olga.pk}/", {"role": "operator", "applications": ["florist"]})
    assert ApplicationLimit.objects.get(user=olga).applications == ["florist"]
    assert hers.get("/nodes/").status_code == 403
    assert last_audit() == {"changed": "olga", "role": "operator", "limited_to": ["florist"]}
    assert page.post(f"/settings/users/{olga.pk}/", {"role": "operator", "applications": ["gone"]}).status_code == 422


def test_sessions_and_tokens_of_a_deactivated_user_end_at_once(page: Client) -> None:
    olga = somebody("olga", "operator")
    hers, token = browser(olga), Client(headers={"X-API-Key": create_token(olga, "t", ["read"])[1]})
    assert hers.get("/tasks/").status_code == token.get("/tasks/all").status_code == 200
    assert "1 token" in page.get(f"/settings/users/{olga.pk}/active/").content.decode()
    page.post(f"/settings/users/{olga.pk}/active/", {"active": "0"})
    assert hers.get("/tasks/").status_code == 302
    assert token.get("/tasks/all").status_code == 401
    assert last_audit() == {"deactivated": "olga"}
    page.post(f"/settings/users/{olga.pk}/active/", {"active": "1"})
    assert token.get("/tasks/all").status_code == 200


def test_a_reset_password_is_shown_once_and_ends_sessions(page: Client) -> None:
    olga = somebody("olga")
    hers = browser(olga)
    text = page.post(f"/settings/users/{olga.pk}/password/", follow=True).content.decode()
    password = re.search(r"The password of olga is ([\w-]{20})", text)
    assert password
    assert hers.get("/tasks/").status_code == 302
    assert Client().login(username="olga", password=password[1])
    assert password[1] not in str(AuditEntry.objects.values())


def test_nobody_changes_themselves(page: Client, ada: User) -> None:
    for path, fields in (("", {"role": "viewer"}), ("active/", {"active": "0"}), ("password/", {})):
        assert page.post(f"/settings/users/{ada.pk}/{path}", fields).status_code == 403
    ada.refresh_from_db()
    assert (ada.is_active, people.role_of(ada), ada.check_password(PASSWORD)) == (True, "admin", True)


def test_nobody_touches_somebody_with_a_permission_that_they_lack(page: Client, admin: User) -> None:
    special = somebody("special")
    special.user_permissions.add(Permission.objects.get(codename="delete_session"))
    resting = somebody("resting", is_active=False)
    resting.user_permissions.add(Permission.objects.get(codename="delete_session"))
    for person in (admin, special, resting):
        for path, fields in (("", {"role": "viewer"}), ("active/", {"active": "0"}), ("password/", {})):
            assert page.post(f"/settings/users/{person.pk}/{path}", fields).status_code == 403
        assert page.get(f"/settings/users/{person.pk}/").status_code == 200


def test_nobody_gives_a_role_with_a_permission_that_they_lack() -> None:
    helper = somebody("helper", "viewer")
    wanted = ["administer", "view_user", "add_user", "change_user"]
    helper.user_permissions.add(*Permission.objects.filter(codename__in=wanted))
    client = browser(helper)
    assert client.post("/settings/users/new/", {"username": "x", "role": "admin"}).status_code == 422
    assert client.post("/settings/users/new/", {"username": "x", "role": "operator"}).status_code == 422
    assert client.post("/settings/users/new/", {"username": "x", "role": "viewer"}).status_code == 302


def test_an_administrator_remains(ada: User) -> None:
    people.require_an_administrator()
    ApplicationLimit.objects.create(user=ada, applications=["zenith"])
    with pytest.raises(StateConflictError):
        people.require_an_administrator()


def test_two_who_demote_each_other_do_not_both_succeed(ada: User) -> None:
    bob = somebody("bob", "admin")
    barrier = threading.Barrier(2)
    errors: list[Exception] = []

    def demote(actor: User, person: User) -> None:
        try:
            barrier.wait(10)
            people.change_access(User.objects.get(pk=actor.pk), User.objects.get(pk=person.pk), role="viewer", applications=())
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=demote, args=pair) for pair in ((ada, bob), (bob, ada))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(errors) <= 1
    people.require_an_administrator()


def test_the_admin_has_the_same_rules(admin: User, ada: User) -> None:
    ada.is_staff = True
    ada.save()
    # One who may administer, and leaves no other behind.
    ada.groups.clear()
    client = browser(admin)
    assert client.post(f"/admin/auth/user/{admin.pk}/delete/", {"post": "yes"}).status_code == 403
    selected = {"action": "delete_selected", "_selected_action": [admin.pk], "post": "yes"}
    assert client.post("/admin/auth/user/", selected).status_code == 403
    assert User.objects.filter(pk=admin.pk).exists()
    ada.groups.add(Group.objects.get(name="admin"))
    form = browser(ada).get(f"/admin/auth/user/{ada.pk}/change/").content.decode()
    assert 'name="groups"' not in form
    assert 'name="is_active"' not in form


def test_users_are_listed_by_name_in_pages_and_searched(page: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zenith_site.people_page.PAGE", 2)
    for name in ("carl", "bob", "dora"):
        somebody(name, email=f"{name}@example.com")
    response = page.get("/settings/users/")
    assert [row["user"].username for row in response.context["people"]] == ["ada", "bob"]
    response = page.get(f"/settings/users/{response.context['next_url']}")
    assert [row["user"].username for row in response.context["people"]] == ["carl", "dora"]
    assert [row["user"].username for row in page.get("/settings/users/?q=DORA@").context["people"]] == ["dora"]
    assert page.get("/settings/users/?q=%00&cursor=%00").status_code == 200


def test_others_see_no_users_no_configuration_and_no_log(person: Client) -> None:
    for path in ("users/", "users/new/", "configuration/", "audit/"):
        assert person.get(f"/settings/{path}").status_code == 403
    text = person.get("/settings/").content.decode()
    assert "/settings/users/" not in text
    assert "/settings/audit/" not in text


# --- The audit log ---


def test_the_log_is_filtered_and_read_in_pages(page: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zenith_site.audit_page.PAGE", 2)
    for number in range(5):
        AuditEntry.objects.create(
            username="zoe" if number % 2 else "walter", action="login", detail={"n": number, "x": "<script>"}
        )
    response = page.get("/settings/audit/?username=walter")
    assert [entry.detail["n"] for entry in response.context["entries"]] == [4, 2]
    assert "<script>" not in response.content.decode().split("<main")[1]
    response = page.get(f"/settings/audit/{response.context['next_url']}")
    assert [entry.detail["n"] for entry in response.context["entries"]] == [0]
    file = page.get("/settings/audit/?username=zoe&format=csv")
    assert b"".join(file.streaming_content).decode().count("zoe") == 2


@pytest.mark.parametrize(
    "query", ["address=nowhere", "status=x", "refused=maybe", "username=%00", "cursor=-1", "action=" + "x" * 300]
)
def test_a_wrong_filter_is_said(query: str, page: Client) -> None:
    response = page.get(f"/settings/audit/?{query}")
    assert response.status_code == 200
    assert "not valid" in response.content.decode()
