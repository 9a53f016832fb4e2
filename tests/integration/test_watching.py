"""Watching an application: its row and its URL, the command, what is refused, and what is shown."""

from __future__ import annotations

import io
import json
import os
import time
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from tasks_app.dispatch.cancel import cancel
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.replay import Replay, replay
from tasks_app.dispatch.rerun import run_again
from tasks_app.errors import InvalidDispatchError
from tasks_app.models import Application, DeadLetter, Task
from tasks_app.models.dead_letter import Selection
from tasks_app.queries.attached_explanation import explain_attached
from tasks_app.watching import observer_state
from tasks_app.watching.applications import Watch, free_name, remove, watch, why_unreachable
from tasks_app.watching.asking import Watched
from tasks_app.watching.brokers import Broker, BrokerUnknownError, broker_of, celery_of
from tasks_app.watching.urls import check_url, name_of
from tests.integration.conftest import ApiClient
from tests.integration.watching import broker_url, quicken, task_of
from zenith_site.common.encryption import DecryptionError, decrypt, encrypt
from zenith_site.common.errors import InvalidInputError, StateConflictError
from zenith_worker.wire import heartbeat
from zenith_worker.wire.client import client as redis_client
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import application_keys

pytestmark = pytest.mark.django_db

SECRET = "correct-horse"
URL = f"redis://user:{SECRET}@broker.example:6390/3"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)


def run(*words: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("watch", *words, stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


# --- The URL ---


def test_what_is_encrypted_is_read_with_the_same_key_and_purpose_only() -> None:
    sealed = encrypt(SECRET, "one")
    assert SECRET not in sealed
    assert encrypt(SECRET, "one") != sealed
    assert decrypt(sealed, "one") == SECRET
    for value, purpose in ((sealed, "two"), (sealed[:-6] + "AAAAA=", "one"), ("v1:", "one"), ("\x00é", "one")):
        with pytest.raises(DecryptionError):
            decrypt(value, purpose)


def test_the_url_is_encrypted_in_the_row_and_unreadable_with_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    row, is_new = watch("shop", Watch(url=URL))
    assert is_new
    with connection.cursor() as cursor:
        cursor.execute("SELECT tasks_app_application::text FROM tasks_app_application WHERE name = 'shop'")
        assert SECRET not in cursor.fetchone()[0]
    assert broker_of(row).url == URL
    assert SECRET not in f"{broker_of(row)!r} {broker_of(row)} {Watch(url=URL)!r} {Watched(1, 'shop', broker_of(row))!r}"
    monkeypatch.setattr(settings, "SECRET_KEY", "another key " * 4)
    with pytest.raises(BrokerUnknownError, match=r"or with .manage\.py watch shop"):
        broker_of(row)
    watch("shop", Watch(url=URL))
    row.refresh_from_db()
    assert broker_of(row).url == URL


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqs://key:correct-horse@", "the scheme sqs cannot be watched"),
        ("correct-horse://host", "its scheme cannot be watched"),
        ("kafka://correct-horse@host", "the scheme kafka cannot be watched"),
        ("correct-horse", "is not a broker's URL"),
        ("", "is not a broker's URL"),
        ("redis://:correct-horse@", "names no host"),
        ("redis://:correct-horse@host:port/0", "has an address that cannot be read"),
        ("redis://:correct-horse@host:99999/0", "has an address that cannot be read"),
        ("sentinel://:correct-horse@host:26379/0", "names no master"),
        ("redis+socket://", "names no socket"),
        ("redis://host/0 correct-horse", "is not a broker's URL"),
    ],
)
def test_a_url_that_cannot_be_watched_is_refused_without_showing_it(url: str, reason: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        check_url(url)
    assert reason in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://localhost:6379/0", "localhost-0"), ("redis://:x@Broker.Example.com/", "broker-example-com"),
        ("amqp://guest:guest@rabbit//", "rabbit"), ("amqps://u:p@rabbit/shop_eu", "rabbit-shop-eu"),
        ("redis+socket:///run/redis.sock", "redis"), ("redis://zenith", "watched"), ("redis://[::1]:6379/1", "1-1"),
        ("sentinel://a:1;sentinel://b:2/0?master_name=m", "a"),
    ],
)  # fmt: skip
def test_a_name_follows_from_the_place_and_not_from_the_password(url: str, name: str) -> None:
    assert name_of(check_url(url)) == name


def test_certificates_are_checked_unless_the_url_says_otherwise() -> None:
    for url, is_checked in (("rediss://h/0", True), ("rediss://h/0?ssl_cert_reqs=none", False), ("amqps://h", True)):
        assert bool(celery_of(Broker(url)).conf.broker_use_ssl) == is_checked
    app = celery_of(Broker("sentinel://h:26379/0?master_name=main", "shop:"))
    assert app.conf.broker_transport_options["master_name"] == "main"
    assert app.conf.broker_transport_options["global_keyprefix"] == "shop:"
    assert app.conf.broker_read_url == "sentinel://h:26379/0"


# --- The command ---


def test_the_command_adds_lists_changes_and_removes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No application is watched" in run()
    monkeypatch.setenv("ZENITH_WATCH_URL", URL)
    assert "shop is watched from now on" in run("shop")
    monkeypatch.delenv("ZENITH_WATCH_URL")
    run("shop", key_prefix="tills:", accept="json,msgpack", enable_events="no")
    row = Application.objects.get(name="shop")
    assert (row.key_prefix, row.serializers, row.enables_events) == ("tills:", "json,msgpack", False)
    assert broker_of(row) == Broker(URL, "tills:", ("json", "msgpack"))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{broker_url()}\n"))
    run("clinic", "-")
    listed = run() + run(json=True)
    assert "clinic" in listed
    assert "shop" in listed
    assert SECRET not in listed
    assert broker_of(Application.objects.get(name="clinic")).url == broker_url()
    for refused in ("pickle", "json,pickle", ""):
        with pytest.raises(CommandError, match="pickle is refused"):
            run("shop", accept=refused)
    with pytest.raises(CommandError, match="letters, digits"):
        run("Shop!", URL)
    with pytest.raises(CommandError, match="add --yes"):
        run("shop", remove=True)
    assert "Would be removed: the URL of the broker of shop" in run("shop", remove=True, dry_run=True)
    assert Application.objects.filter(name="shop").exists()
    assert "the application shop itself" in run("shop", remove=True, yes=True)
    assert not Application.objects.filter(name="shop").exists()
    with pytest.raises(CommandError, match="there are: clinic"):
        run("shop", remove=True)


def test_an_application_with_tasks_stays_when_it_is_removed() -> None:
    row, _ = watch("shop", Watch(url=URL))
    Task.objects.create(
        id=key_of("a", "shop"), text_id="a", application=row, name="x", status="RECEIVED", created_at=timezone.now()
    )
    told = remove("shop")
    row.refresh_from_db()
    assert (told.row, row.broker) == (False, "")
    with pytest.raises(BrokerUnknownError, match="not watched any more"):
        broker_of(row)


def test_an_application_of_another_kind_is_not_watched() -> None:
    Application.objects.create(name="shop", kind="attached")
    with pytest.raises(CommandError, match="its workers report to Zenith themselves"):
        run("shop", URL)
    assert free_name("redis://shop") == "shop-2"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://:correct-horse@127.0.0.1:1/0", "nothing listens at its host and port"),
        ("amqp://u:correct-horse@127.0.0.1:1//", "nothing listens at its host and port"),
        ("redis://correct-horse.invalid/0", "its host's name is unknown"),
        ("redis+socket:///nowhere/correct-horse.sock", "its socket does not exist"),
    ],
)
def test_a_tested_connection_says_what_is_wrong_and_shows_nothing(url: str, reason: str) -> None:
    with pytest.raises(CommandError) as refused:
        run("shop", url, test=True)
    assert reason in str(refused.value)
    assert SECRET not in str(refused.value)
    assert not Application.objects.exists() or not Application.objects.filter(name="shop").exists()


def test_a_broker_that_can_be_used_passes_the_test_and_one_that_refuses_the_login_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    assert why_unreachable(Broker(broker_url())) == ""
    parts = urlsplit(broker_url())
    wrong = f"redis://nobody:{SECRET}@{parts.hostname}:{parts.port}/13"
    assert "refuses the user or the password" in why_unreachable(Broker(wrong))
    run("shop", broker_url(), test=True)
    assert "can be used" in run("shop", test=True)
    # Some of kombu's classes log the URL without its password.
    assert "redis://" not in caplog.text
    assert str(parts.port) not in caplog.text


def test_what_zenith_watch_names_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ZENITH_WATCH", f"{URL} clinic=amqp://guest:{SECRET}@rabbit/clinic")
    run(configured=True)
    run(configured=True)
    names = set(Application.objects.filter(kind="watched").values_list("name", flat=True))
    assert names == {"broker-example-3", "clinic"}
    monkeypatch.setattr(settings, "ZENITH_WATCH", f"shop=sqs://{SECRET}")
    with pytest.raises(CommandError) as refused:
        run(configured=True)
    assert SECRET not in str(refused.value)


def test_up_passes_urls_on_where_nobody_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    executed: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, words: executed.append(words))
    monkeypatch.setattr(os, "chdir", lambda _: None)
    monkeypatch.setattr(settings, "ZENITH_WATCH", "clinic=amqp://rabbit/")
    monkeypatch.setenv("ZENITH_WATCH", "clinic=amqp://rabbit/")
    call_command("up", watch=[URL, f"shop={URL}"])
    assert SECRET not in " ".join(executed[0])
    assert os.environ["ZENITH_WATCH"] == f"clinic=amqp://rabbit/ {URL} shop={URL}"


# --- What is refused ---


def test_no_task_is_sent_to_a_watched_application(person: Client) -> None:
    row, _ = watch("shop", Watch(url=URL))
    failed, waiting = task_of(row, "a", status="FAILURE", error_type="ValueError"), task_of(row, "b", status="RECEIVED")
    letter = DeadLetter.objects.create(
        task=failed, application=row, task_name="shop.pay", error_type="ValueError", fingerprint="f", created_at=timezone.now()
    )
    origin = Origin(source="api", sent_by="test")
    with pytest.raises(InvalidDispatchError, match="Zenith only watches shop"):
        dispatch(Dispatch(task="shop.pay", application="shop"), origin)
    with pytest.raises(StateConflictError, match="Zenith only watches shop"):
        run_again(failed.id, origin)
    assert replay(Replay(selection=Selection(task_ids=(failed.id,))), origin).passed_over == 1
    letter.refresh_from_db()
    assert letter.state == "OPEN"
    page = person.get(f"/tasks/{failed.id}/").content.decode()
    assert "/tasks/act/again/" not in page
    assert "events describe them" in page
    assert "/dispatch/?like=" not in page
    for key in ("handed", "commands", "cancelled"):
        assert not redis_client().exists(getattr(application_keys("shop"), key))
    # Its workers can be told to refuse it (test_watched_control.py), if somebody can tell them.
    assert "/tasks/act/cancel/" in person.get(f"/tasks/{waiting.id}/").content.decode()
    with pytest.raises(StateConflictError, match="No worker of shop is online"):
        cancel([waiting.id], by="test")
    waiting.refresh_from_db()
    assert (waiting.status, waiting.cancel_requested_at) == ("RECEIVED", None)


# --- Pages and API ---


def test_pages_and_api_say_what_is_known_and_show_no_url(person: Client, api: ApiClient, admin: User) -> None:
    row, _ = watch("shop", Watch(url=URL))
    heartbeat.write_heard([heartbeat.Heard("shop@one", {"pid": 0, "slots": 0, "busy": 0, "queues": [], "held": [],
                                                         "unknown": ["slots", "queues", "held"]}, 0.0)], "shop")  # fmt: skip
    observer_state.write("shop", observer_state.ObserverState(listens=False, reason="it refuses the login", since=time.time()))
    Application.objects.filter(pk=row.pk).update(gaps=[[time.time() - 60, time.time() - 30, "no observer ran"]])
    pages = [
        "/applications/", "/applications/shop/", "/workers/", "/workers/shop@one/?application=shop", "/queues/?application=shop",
        "/dispatch/?application=shop",
    ]  # fmt: skip
    for path in pages:
        page = person.get(path).content.decode()
        assert SECRET not in page
        assert "broker.example" not in page
    page = person.get("/applications/shop/").content.decode()
    for text in ("Watched", "it refuses the login", "no observer ran", "What attaching adds", "zenith_worker.auto"):
        assert text in page
    root = Client()
    root.force_login(admin)
    shown = root.get(f"/admin/tasks_app/application/{row.pk}/change/")
    assert shown.status_code == 200
    assert row.broker not in shown.content.decode()
    answer = api().get("/api/v1/applications/shop").json()
    assert answer["kind"] == "watched"
    [worker] = api().get("/api/v1/workers?application=shop").json()
    assert worker["unknown"] == ["slots", "queues", "reserved"]
    assert answer["observer"] == {"listens": False, "reason": "it refuses the login", "events": 0, "lost": 0, "odd": 0}
    assert SECRET not in json.dumps(answer)


def test_a_task_that_its_worker_no_longer_has_is_said_to_be_lost_sight_of() -> None:
    row, _ = watch("shop", Watch(url=URL))
    now = timezone.now()
    task = task_of(row, "a", status="STARTED", worker="shop@one", started_at=now - timedelta(seconds=300))
    body = {"pid": 1, "slots": 1, "busy": 0, "queues": ["tills"], "held": []}

    def why(**changes: Any) -> str:
        heartbeat.write_heard([heartbeat.Heard("shop@one", {**body, **changes}, 0.0)], "shop")
        return explain_attached(task, "shop", heartbeat.read_all("shop"), now)

    assert "shop@one says that it does not have it: how it ended was not heard" in why()
    assert "has been running it for" in why(held=["a"])
    assert "has been running it for" in why(unknown=["held"])
    assert "queues they consume" in explain_attached(
        task_of(row, "b", status="QUEUED", queue="tills"), "shop",
        heartbeat.read_all("shop") if why(queues=[], unknown=["queues"]) else [], now,
    )  # fmt: skip
