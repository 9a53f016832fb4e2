"""The admin: tokens are made and revoked in it, tasks can only be looked at."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib import admin as django_admin
from django.test import Client
from django.urls import reverse

from tasks_app.models import Batch, MinuteRollup, Task, TaskEvent
from tests.tokens import authenticate_token
from zenith_site.auth.tokens import create_token
from zenith_site.models import ApiToken
from zenith_worker.wire.ids import new_id

NOW = datetime(2030, 1, 31, tzinfo=UTC)
READ_ONLY = [Task, TaskEvent, Batch, MinuteRollup]


@pytest.fixture
def client(admin: Any) -> Client:
    client = Client()
    client.force_login(admin)
    return client


def rows() -> dict[Any, Any]:
    batch = Batch.objects.create(task_name="t", size=1, source="api", created_at=NOW)
    task = Task.objects.create(
        id=new_id(),
        name="t",
        queue="default",
        status="QUEUED",
        source="api",
        created_at=NOW,
        batch=batch,
    )
    event = TaskEvent.objects.create(task=task, status="QUEUED", position=3, at=NOW)
    rollup = MinuteRollup.objects.create(minute=NOW, name="t", queue="default", runtime_histogram=[0])
    return {Task: task, TaskEvent: event, Batch: batch, MinuteRollup: rollup}


@pytest.mark.parametrize("model", READ_ONLY)
def test_what_the_pipeline_writes_can_be_seen_but_not_touched(client: Client, model: Any) -> None:
    row = rows()[model]
    name = f"admin:tasks_app_{model._meta.model_name}"
    assert client.get(reverse(f"{name}_changelist")).status_code == 200
    page = client.get(reverse(f"{name}_change", args=[row.pk]))
    assert page.status_code == 200
    assert b'type="submit"' not in page.content.replace(b"Log out", b"").split(b'id="content"')[1]
    for path in (
        reverse(f"{name}_add"),
        reverse(f"{name}_change", args=[row.pk]),
        reverse(f"{name}_delete", args=[row.pk]),
    ):
        assert client.post(path, {"post": "yes"}).status_code == 403
    assert model.objects.filter(pk=row.pk).exists()


def test_every_model_has_its_admin() -> None:
    registered = {model._meta.label for model in django_admin.site._registry}
    assert registered >= {
        "tasks_app.Task", "tasks_app.TaskEvent", "tasks_app.Batch", "tasks_app.MinuteRollup",
        "zenith_site.ApiToken", "django_celery_results.TaskResult", "auth.User", "auth.Group",
    }  # fmt: skip


@pytest.mark.parametrize("query", ["?q=QUEUED", "?status__exact=QUEUED", "?q=" + "0" * 32, "?q=%00"])
def test_searching_for_anything_breaks_nothing(client: Client, query: str) -> None:
    rows()
    assert client.get(reverse("admin:tasks_app_task_changelist") + query).status_code in (200, 302)


def make_token(client: Client, admin: Any, **changed: Any) -> Any:
    form = {
        "name": "billing",
        "user": admin.pk,
        "scopes": ["read"],
        "expires_at_0": "",
        "expires_at_1": "",
    }
    return client.post(reverse("admin:zenith_site_apitoken_add"), {**form, **changed}, follow=True)


def test_a_new_token_is_shown_once(client: Client, admin: Any) -> None:
    page = make_token(client, admin)
    found = re.search(rb"zen_[A-Za-z0-9_-]{43}", page.content)
    assert found is not None
    raw = found[0].decode()
    token = authenticate_token(raw)
    assert token is not None
    assert token.scopes == ["read"]
    for path in (
        reverse("admin:zenith_site_apitoken_changelist"),
        reverse("admin:zenith_site_apitoken_change", args=[token.pk]),
    ):
        again = client.get(path).content.decode()
        assert raw not in again
        assert token.hash not in again
        assert token.prefix in again


def test_changing_a_token_leaves_its_key(client: Client, admin: Any) -> None:
    token, raw = create_token(admin, "billing", ["read"])
    path = reverse("admin:zenith_site_apitoken_change", args=[token.pk])
    form = {
        "name": "invoices",
        "user": admin.pk,
        "scopes": ["read", "dispatch"],
        "expires_at_0": "",
        "expires_at_1": "",
    }
    assert client.post(path, form).status_code == 302
    found = authenticate_token(raw)
    assert found is not None
    assert (found.name, found.scopes) == ("invoices", ["read", "dispatch"])


def test_a_token_without_a_scope_is_not_made(client: Client, admin: Any) -> None:
    make_token(client, admin, scopes=[])
    assert not ApiToken.objects.exists()


def test_tokens_can_be_revoked(client: Client, admin: Any) -> None:
    token, raw = create_token(admin, "billing", ["read"])
    form = {"action": "revoke", "_selected_action": [token.pk]}
    assert client.post(reverse("admin:zenith_site_apitoken_changelist"), form).status_code == 302
    assert authenticate_token(raw) is None
    assert ApiToken.objects.get().revoked_at is not None


@pytest.mark.parametrize("path", ["/admin/", "/admin/zenith_site/apitoken/add/", "/admin/auth/user/"])
def test_its_pages_need_no_inline_script_or_style(client: Client, path: str) -> None:
    page = client.get(path).content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", page)
    assert not re.search(r"\sstyle=|<style|\son\w+=", page)
