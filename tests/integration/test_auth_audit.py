"""The audit log: who did what, from where; appended, never changed, and free of secrets.

That every mutating route writes an entry is in test_auth_doors.py, beside the table of routes.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.maintenance import retention
from tasks_app.models import Batch
from tests.integration.conftest import ApiClient
from zenith_site.auth import audit, refusals, throttle
from zenith_site.auth.tokens import create_token
from zenith_site.models import AuditEntry

ONE = {"data": {"count": 1}, "content_type": "application/json"}


@pytest.fixture(autouse=True)
def no_refusals() -> None:
    """What other tests were refused is written by the next call that writes counts."""
    throttle.client().delete(*refusals.KEYS)


@pytest.fixture
def client(admin: User) -> Client:
    client = Client()
    client.force_login(admin)
    AuditEntry.objects.all().delete()
    return client


def test_a_trigger_by_a_token_is_told_with_its_token_and_its_numbers(api: ApiClient) -> None:
    assert api("dispatch").post("/tasks/trigger", **ONE).status_code == 200  # type: ignore[arg-type]
    entry = AuditEntry.objects.get()
    assert (entry.username, entry.action, entry.path, entry.status) == ("root", "POST /tasks/trigger", "/tasks/trigger", 200)
    assert entry.token.startswith("test (zen_")
    assert entry.detail == {"tasks": 1, "batch": str(Batch.objects.get().pk)}


def test_a_page_tells_too(client: Client, admin: User) -> None:
    client.post("/run/")
    entry = AuditEntry.objects.get()
    assert (entry.user_id, entry.token, entry.action, entry.detail["tasks"]) == (admin.pk, "", "POST /run/", 10)


def test_it_costs_one_query_of_a_trigger(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.post("/tasks/trigger", **ONE)  # type: ignore[arg-type]
    with CaptureQueriesContext(connections["default"]) as with_it:
        client.post("/tasks/trigger", **ONE)  # type: ignore[arg-type]
    monkeypatch.setattr(audit, "write", lambda *_, **__: None)
    with CaptureQueriesContext(connections["default"]) as without:
        client.post("/tasks/trigger", **ONE)  # type: ignore[arg-type]
    assert len(with_it) == len(without) + 1


def test_writing_an_entry_is_one_query(client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        audit.write("x", user=User(pk=1, username="root"))


def test_looking_is_not_written(client: Client, api: ApiClient) -> None:
    client.get("/")
    api("read").get("/tasks/all")
    api("read").head("/tasks/all")
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/tasks/trigger", {"count": 0}, 422), ("/no/such", {}, 404), ("/tasks/all", {}, 405)],
)
def test_what_was_refused_did_nothing_and_is_not_written(client: Client, path: str, body: Any, status: int) -> None:
    assert client.post(path, body, content_type="application/json").status_code == status
    assert not AuditEntry.objects.exists()


def test_logins_and_logouts_are_written(admin: User) -> None:
    client = Client(REMOTE_ADDR="192.0.2.7")
    client.post("/login/", {"username": "root", "password": "wrong"})
    client.post("/login/", {"username": "root", "password": "a long enough one"})
    client.post("/logout/")
    found = AuditEntry.objects.order_by("id").values_list("action", "username", "address", "path")
    assert list(found) == [
        ("login failed", "root", "192.0.2.7", "/login/"),
        ("login", "root", "192.0.2.7", "/login/"),
        ("logout", "root", "192.0.2.7", "/logout/"),
    ]
    assert "a long enough one" not in str(AuditEntry.objects.values())


def test_what_is_saved_in_the_admin_is_written_and_a_mistake_is_not(client: Client, admin: User) -> None:
    form = {"name": "t", "user": admin.pk, "scopes": [], "expires_at_0": "", "expires_at_1": ""}
    assert client.post("/admin/zenith_site/apitoken/add/", form).status_code == 200
    assert not AuditEntry.objects.exists()
    assert client.post("/admin/zenith_site/apitoken/add/", {**form, "scopes": ["read"]}).status_code == 302
    entry = AuditEntry.objects.get()
    assert entry.action == "POST /admin/zenith_site/apitoken/add/"
    assert entry.detail["user"] == "root"


def test_an_action_of_the_admin_tells_on_how_many(client: Client, admin: User) -> None:
    tokens = [create_token(admin, "t", ["read"])[0].pk for _ in range(3)]
    client.post("/admin/zenith_site/apitoken/", {"action": "revoke", "_selected_action": tokens})
    assert AuditEntry.objects.get().detail == {"action": "revoke", "chosen": 3, "revoked": 3}


def test_the_command_is_written(admin: User) -> None:
    call_command("create_token", "root", "--scope", "dispatch", "--rate-limit", "100/m")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.username, entry.detail["scopes"]) == ("create_token", "", ["dispatch"])


def test_an_entry_cannot_be_changed(client: Client) -> None:
    audit.write("x")
    entry = AuditEntry.objects.get()
    entry.action = "y"
    with pytest.raises(TypeError, match="does not change"):
        entry.save()
    page = f"/admin/zenith_site/auditentry/{entry.pk}"
    assert client.get(f"{page}/change/").status_code == 200
    for path in (f"{page}/change/", f"{page}/delete/", "/admin/zenith_site/auditentry/add/"):
        assert client.post(path, {"post": "yes", "action": "y"}).status_code == 403
    assert AuditEntry.objects.get(refusal=None).action == "x"


def test_it_outlives_its_user(admin: User) -> None:
    audit.write("x", user=admin)
    number = admin.pk
    admin.delete()
    entry = AuditEntry.objects.get()
    assert (entry.user_id, entry.username) == (number, "root")


def test_old_entries_are_pruned_with_the_rest(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ZENITH_AUDIT_DAYS = 10
    monkeypatch.setattr(audit, "_CHUNK", 2)
    monkeypatch.setattr(connections["default"], "close", lambda: None)
    now = timezone.now()
    for days in (30, 20, 12, 11, 11, 9, 1, 0):
        AuditEntry.objects.create(action=str(days), at=now - timedelta(days=days))
    retention._prune()
    assert set(AuditEntry.objects.values_list("action", flat=True)) == {"9", "1", "0"}
    assert audit.prune() == 0


def test_a_database_that_went_away_makes_no_error_of_what_is_done(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(AuditEntry, "save", fail)
    with caplog.at_level(logging.ERROR):
        assert client.post("/tasks/trigger", **ONE).status_code == 200  # type: ignore[arg-type]
    assert "Could not write to the audit log (gone)" in caplog.text
    assert "POST /tasks/trigger" in caplog.text
