"""Queues of attached applications: paused, resumed and purged by their workers, and how long tasks have waited there.

tests/attached/test_queues.py has real workers.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tasks_app.control import attached_queues as control
from tasks_app.diagnosis.queue_facts import attached_queue_facts
from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.dispatch.hand_over import PAUSED_REST, HandOver
from tasks_app.errors import PurgeUnansweredError
from tasks_app.maintenance import pauses as copies
from tasks_app.models import Application, AttachedPause, Task, TaskEvent
from tasks_app.queries import attached_queues
from tasks_app.queries.detail import detail
from tests.attached.recording import record
from tests.celery_apps import app_alone
from tests.integration.conftest import ApiClient
from zenith_site.common.errors import StateConflictError
from zenith_site.models import ApplicationLimit, AuditEntry
from zenith_worker import attached_purge
from zenith_worker.attached_purge import Purges
from zenith_worker.wire import commands, heartbeat, pauses, purges, stream
from zenith_worker.wire import control as wire_control
from zenith_worker.wire.client import client
from zenith_worker.wire.commands import Command
from zenith_worker.wire.events import Event
from zenith_worker.wire.heartbeat import About, Depth
from zenith_worker.wire.ids import key_of
from zenith_worker.wire.keys import application_keys
from zenith_worker.wire.pauses import KnownPauses
from zenith_worker.wire.purges import Purged
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)
KEYS = application_keys("shop")
URL = os.environ["REDIS_URL"]
BROKER = f"{URL[: -len(urlsplit(URL).path)]}/9"
NAME = "celery@till"
TOKEN = "0" * 32


@pytest.fixture(autouse=True)
def shop() -> Application:
    client().flushdb()
    redis.Redis.from_url(BROKER).flushdb()
    stream.ensure_group()
    Application.objects.create(name="clinic", kind="attached")
    return Application.objects.create(name="shop", kind="attached")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_control, "PATIENCE", 0.2)
    monkeypatch.setattr(wire_control, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(purges, "ANSWERED_WITHIN", 0.2)


def beat(*depths: tuple[str, int], name: str = NAME, obeys: tuple[str, ...] = ("pause", "purge"), **more: Any) -> None:
    about = About(
        catalogue="d", queue_commands=obeys, depths=[Depth(*pair) for pair in depths], depths_age=1.0 if depths else None
    )
    heartbeat.write(name, **{"slots": 4, "busy": 0, "queues": ["tills"], "application": "shop", "about": about, **more})


# --- A worker purges ---


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Celery]]:
    made: list[Celery] = []

    def make(broker: str = BROKER, **settings: Any) -> Celery:
        made.append(app_alone(monkeypatch, "shop", broker=broker))
        made[-1].conf.update(settings)
        return made[-1]

    yield make
    for one in made:
        one.close()


def purge(app: Celery, queue: str = "tills", most: Any = purges.MOST, by: Any = "ada", kept: list[Event] | None = None) -> Purged:
    """Have a worker carry a purge out, and return its answer."""
    body = {"queue": queue, "by": by, "most": most, "token": TOKEN}
    Purges(app, "shop", (kept if kept is not None else []).extend if kept is None else lambda *events: kept.extend(events)).run(
        Command("0-1", "purge", body)
    )
    answer = purges._look("shop", TOKEN)
    assert answer is not None
    client().delete(KEYS.control + TOKEN)
    return answer


def ids_sent(app: Celery, number: int, queue: str = "tills", **options: Any) -> list[str]:
    return [app.send_task("shop.add", (1, 2), queue=queue, **options).id for _ in range(number)]


def test_all_priorities_are_purged_as_the_application_uses_them_and_every_task_is_revoked(app: Callable[..., Celery]) -> None:
    shop = app(broker_transport_options={"global_keyprefix": "shop:", "priority_steps": [0, 5]})
    own = ids_sent(shop, 150) + ids_sent(shop, 2, priority=7)
    other = redis.Redis.from_url(BROKER)
    other.lpush("tills", "of somebody else")
    other.lpush("shop:tills", "no message", json.dumps({"properties": {}}))
    others = ids_sent(shop, 1, queue="other")
    assert purge(shop) == Purged(154, 152, 0, "")
    assert (other.llen("tills"), other.llen("shop:tills"), other.llen("shop:other")) == (1, 0, 1)
    assert record()
    rows = {task.celery_id: task for task in Task.objects.filter(application__name="shop")}
    assert set(rows) == set(own)
    assert {(task.status, task.name, task.queue, tuple(task.args)) for task in rows.values()} == {
        ("REVOKED", "shop.add", "tills", (1, 2))
    }
    events = TaskEvent.objects.filter(task__application__name="shop")
    assert set(events.values_list("status", "message")) == {("REVOKED", "purged by ada")}
    assert not Task.objects.filter(id=key_of(others[0], "shop")).exists()


def test_what_ended_stays_as_it_was_and_a_later_attempt_is_revoked_as_such(app: Callable[..., Celery]) -> None:
    ended, retried = ids_sent(app(), 2)
    store = redis.Redis.from_url(BROKER)
    again = json.loads(store.lpop("tills") or b"")
    again["headers"]["retries"] = 2
    store.lpush("tills", json.dumps(again))
    for id_, status, attempt in ((ended, Status.SUCCESS, 0), (retried, Status.RETRY, 1)):
        stream.append([Event(task_id=id_, status=status, at=1_800_000_000.0, attempt=attempt, name="shop.add")], "shop")
    assert purge(app()).told == 2
    record()
    assert Task.objects.get(id=key_of(ended, "shop")).status == "SUCCESS"
    row = Task.objects.get(id=key_of(retried, "shop"))
    assert (row.status, row.attempt) == ("REVOKED", 3)


def test_no_more_is_removed_than_asked_for_and_what_is_pickled_is_not_read(app: Callable[..., Celery]) -> None:
    shop = app(task_serializer="pickle", accept_content=["pickle", "json"])
    ids_sent(shop, 5)
    assert purge(shop, most=3) == Purged(3, 3, 2, "")
    record()
    assert [(task.name, task.args) for task in Task.objects.filter(application__name="shop")] == [("shop.add", [])] * 3


def test_a_purge_ends_in_time(app: Callable[..., Celery], monkeypatch: pytest.MonkeyPatch) -> None:
    ids_sent(app(), 5)
    monkeypatch.setattr(attached_purge, "BATCH", 2)
    monkeypatch.setattr(purges, "WITHIN", 0.0)
    assert purge(app()) == Purged(2, 2, 3, "")


def test_what_cannot_be_reported_is_kept_and_the_purge_ends(app: Callable[..., Celery], monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ids_sent(app(), 5)
    monkeypatch.setattr(attached_purge, "BATCH", 2)
    client().set(KEYS.events, "it takes no report")
    kept: list[Event] = []
    found = purge(app(), kept=kept)
    assert (found.removed, found.told, found.remaining) == (2, 2, None)
    assert "Zenith's Redis" in found.error
    assert [event.task_id for event in kept] == ids[:2]
    assert redis.Redis.from_url(BROKER).llen("tills") == 3


def test_an_entry_that_cannot_be_written_is_kept_for_each_task_apart(
    app: Callable[..., Celery], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ids_sent(app(), 3)

    def fails(*_: Any) -> None:
        raise ValueError("of one of them")

    monkeypatch.setattr(stream, "append", fails)
    kept: list[Event] = []
    assert purge(app(), kept=kept) == Purged(3, 3, 0, "")
    assert [event.task_id for event in kept] == ids


@pytest.mark.parametrize(
    "change",
    [
        {"queue": ""},
        {"queue": 3},
        {"queue": "q" * 256},
        {"queue": "unacked"},
        {"most": 0},
        {"most": True},
        {"most": 10**6},
        {"by": 1},
    ],
    ids=str,
)
def test_what_is_no_purge_of_zeniths_is_refused(change: dict[str, Any], app: Callable[..., Celery]) -> None:
    found = purge(app("nothing://"), **change)
    assert (found.removed, found.error.startswith("refused: ")) == (0, True)


def test_a_broker_that_is_away_or_another_one_is_said_without_its_address(app: Callable[..., Celery]) -> None:
    found = purge(app("redis://:secret@127.0.0.1:1/0"))
    assert "cannot be reached" in found.error
    assert "127.0.0.1" not in found.error
    assert "Redis and RabbitMQ only" in purge(app("memory://")).error
    redis.Redis.from_url(BROKER).set("tills", "no list")
    assert "refused or failed" in purge(app()).error


# --- A server asks for it ---


def answers(monkeypatch: pytest.MonkeyPatch, answer: Purged) -> list[tuple[Any, ...]]:
    """Have purges answered; return what was asked for."""
    asked: list[tuple[Any, ...]] = []

    def ask(*words: Any) -> Purged:
        asked.append(words)
        return answer

    monkeypatch.setattr(purges, "ask", ask)
    return asked


def test_a_queue_is_purged_after_a_question_that_names_the_count(
    person: Client, shop: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat(("tills", 1234))
    waits = {"name": "shop.add", "queue": "tills", "source": "api", "created_at": timezone.now(), "application": shop}
    unsent = Task.objects.create(id=key_of("unsent", "shop"), text_id="unsent", status="PENDING", **waits)
    handed = Task.objects.create(
        id=key_of("handed", "shop"), text_id="handed", status="PENDING", handed_at=timezone.now(), **waits
    )
    asked = answers(monkeypatch, Purged(1230, 1200, 4, ""))
    page = person.get("/queues/?application=shop").content.decode()
    assert 'href="/queues/purge/tills/?application=shop"' in page
    question = person.get("/queues/purge/tills/?application=shop").content.decode()
    assert "1,234 messages wait in it" in question
    assert "1 task is not sent yet" in question
    assert "Purge 1,235" in question
    assert asked == []
    done = person.post("/queues/purge/tills/?application=shop", follow=True)
    assert done.redirect_chain == [("/queues/?application=shop", 302)]
    text = done.content.decode()
    assert "1,230 messages removed, 1,201 tasks revoked. 30 messages did not say which task they were of. 4 still wait" in text
    assert asked == [("shop", "tills", "olga")]
    unsent.refresh_from_db()
    handed.refresh_from_db()
    assert (unsent.status, handed.status) == ("REVOKED", "PENDING")
    entry = AuditEntry.objects.get(path="/queues/purge/tills/")
    assert (entry.detail["application"], entry.detail["revoked"], entry.detail["messages_removed"]) == ("shop", 1201, 1230)


def test_programs_purge_and_are_told_what_went_or_why_not(
    api: ApiClient, quick: None, monkeypatch: pytest.MonkeyPatch, shop: Application
) -> None:
    beat(("tills", 5))
    path = "/api/v1/queues/tills/purge?application=shop"
    operator = api("operate")

    def post(body: Any = None) -> Any:
        return operator.post(path, json.dumps(body) if body else None, content_type="application/json")

    assert post({"dry_run": True}).json() == {
        "dry_run": True, "revoked": 5, "running": 0, "messages_removed": 0, "remaining": 5, "error": "",
    }  # fmt: skip
    withdrawn = post()
    assert withdrawn.status_code == 504
    assert "It was withdrawn" in withdrawn.json()["detail"]
    assert commands.waiting("shop") == 0
    answers(monkeypatch, Purged(5, 5, None, "its broker went away"))
    assert post().json() == {
        "dry_run": False, "revoked": 5, "running": 0, "messages_removed": 5, "remaining": 0, "error": "its broker went away",
    }  # fmt: skip
    beat(("tills", 5), obeys=("pause",))
    assert post().status_code == 409
    assert "No worker of shop is online that can purge" in post().json()["detail"]
    assert operator.post("/api/v1/queues/unheard/purge?application=shop", content_type="application/json").status_code == 404
    assert operator.post("/api/v1/queues/tills/purge?aplication=shop", content_type="application/json").status_code == 422
    assert api("read").post(path, content_type="application/json").status_code == 403


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b'{"removed": 3, "told": 9, "remaining": null, "error": ""}', None),
        (b'{"removed": -1, "told": 0, "remaining": null, "error": ""}', "cannot be read"),
        (b'{"removed": true, "told": 0, "remaining": null, "error": ""}', "cannot be read"),
        (b"[" * 60_000, "cannot be read"),
        (None, "has not answered within"),
    ],
    ids=range(5),
)
def test_the_answer_is_an_applications_word_and_checked(
    shop: Application, quick: None, reply: bytes | None, words: str | None
) -> None:
    beat()

    def worker() -> None:
        for command in commands.read("shop", count=1, block=5):
            assert command.kind == "purge"
            assert commands.take("shop", command.id)
            if reply is not None:
                client().set(KEYS.control + command.body["token"], reply, px=5000)

    commands.hand_over("shop", [])
    thread = threading.Thread(target=worker)
    thread.start()
    if reply is None:
        with pytest.raises(PurgeUnansweredError, match=str(words)):
            control.purge(shop, "tills", by="ada")
    else:
        found = control.purge(shop, "tills", by="ada")
        assert (words or "") in found.error
        assert (found.removed, found.told) == ((3, 3) if words is None else (0, 0))
    thread.join()


# --- Pausing ---


def send(count: int = 1, **more: Any) -> list[Task]:
    request = Dispatch(task="shop.charge", data=[7] * count, application="shop", **more)
    return list(Task.objects.filter(id__in=dispatch(request, Origin(source="api")).ids))


def test_a_paused_queue_is_told_to_workers_and_nothing_is_handed_over_for_it(
    person: Client, shop: Application, quick: None
) -> None:
    beat(("tills", 3))
    assert "the workers of shop take nothing from it" in person.get("/queues/pause/tills/?application=shop").content.decode()
    done = person.post("/queues/pause/tills/?application=shop", {"note": "The bank is down."}, follow=True).content.decode()
    assert "tills is paused." in done
    assert "The bank is down." in done
    assert pauses.read_of("shop") == {"tills"}
    assert pauses.read_of("clinic") == frozenset()
    assert pauses.read() == frozenset(), "Zenith's own queue of that name is another one"
    assert AuditEntry.objects.get(path="/queues/pause/tills/").detail["application"] == "shop"
    row = AttachedPause.objects.get()
    assert (row.application, row.queue, row.paused_by) == (shop, "tills", "olga")

    held = {"name": "shop.add", "source": "api", "created_at": timezone.now(), "application": shop, "queue": "tills"}
    waits = Task.objects.create(id=key_of("a", "shop"), text_id="a", status="PENDING", args=[], kwargs={}, **held)
    due = timezone.now() - timedelta(minutes=1)
    late = Task.objects.create(
        id=key_of("b", "shop"), text_id="b", status="SCHEDULED", not_before=due, args=[], kwargs={}, **held
    )
    other = {**held, "queue": "other"}
    Task.objects.create(id=key_of("c", "shop"), text_id="c", status="PENDING", args=[], kwargs={}, **other)
    now = [0.0]
    relay = HandOver(lambda: now[0])
    assert relay.run_once() == 1
    assert relay.run_once() == 0
    for task in (waits, late):
        found = detail(str(task.id))
        assert found is not None
        assert "The queue tills is paused" in found.why
    assert [facts.paused_by for facts in attached_queue_facts(shop, []) if facts.name == "tills"] == ["olga"]

    assert "tills is resumed." in person.post("/queues/resume/tills/?application=shop", follow=True).content.decode()
    assert pauses.read_of("shop") == frozenset()
    assert relay.run_once() == 0, "very many may be held back, so it does not look at them all the time"
    now[0] += PAUSED_REST + 0.1
    assert relay.run_once() == 2


def test_programs_pause_and_resume(api: ApiClient, shop: Application) -> None:
    beat(("tills", 3))
    operator, path = api("operate", "read"), "/api/v1/queues/tills"
    paused = operator.post(f"{path}/pause?application=shop", '{"note": "no"}', content_type="application/json").json()
    assert (paused["name"], paused["application"], paused["pause"]["note"]) == ("tills", "shop", "no")
    assert operator.post(f"{path}/pause?application=shop", content_type="application/json").status_code == 409
    assert operator.get(f"{path}?application=shop").json()["pause"]["note"] == "no"
    assert operator.post("/api/v1/queues/unheard/pause?application=shop", content_type="application/json").status_code == 404
    client().delete(f"{KEYS.workers}", f"{KEYS.worker}{NAME}")
    assert [row["name"] for row in operator.get("/api/v1/queues?application=shop").json()] == ["tills"], "paused, so it is known"
    assert operator.post(f"{path}/resume?application=shop", content_type="application/json").json()["pause"] is None
    assert operator.post(f"{path}/resume?application=shop", content_type="application/json").status_code == 409
    assert operator.post(f"{path}/pause?application=nothing", content_type="application/json").status_code == 404


def test_whoever_is_limited_to_other_applications_finds_no_queue(person: Client, api: ApiClient) -> None:
    beat(("tills", 3))
    user = User.objects.get(username="olga")
    ApplicationLimit.objects.create(user=user, applications=["clinic"])
    token = api("operate", user=user)
    for verb in ("pause", "resume", "purge"):
        assert person.post(f"/queues/{verb}/tills/?application=shop").status_code == 404
        assert token.post(f"/api/v1/queues/tills/{verb}?application=shop", content_type="application/json").status_code == 404
        assert token.post(f"/api/v1/queues/tills/{verb}", content_type="application/json").status_code == 403
    assert not AttachedPause.objects.exists()


def test_queues_of_watched_applications_are_neither_paused_nor_purged(person: Client, api: ApiClient) -> None:
    watched = Application.objects.create(name="bank", kind="watched")
    for act in (control.pause, control.purge):
        with pytest.raises(StateConflictError, match="only watches bank"):
            act(watched, "tills", by="ada")
    assert person.get("/queues/purge/tills/?application=bank").status_code == 404
    assert "/queues/purge/" not in person.get("/queues/?application=bank").content.decode()


def test_workers_that_do_not_obey_a_pause_are_said(person: Client, shop: Application) -> None:
    beat(obeys=())
    assert (
        "1 worker goes on, because its zenith_worker is too old"
        in person.get("/queues/pause/tills/?application=shop").content.decode()
    )
    control.pause(shop, "tills", by="ada")
    assert "1 worker goes on: its zenith_worker is too old" in person.get("/queues/?application=shop").content.decode()
    beat()
    assert "zenith_worker is too old" not in person.get("/queues/?application=shop").content.decode()


def test_a_worker_goes_on_with_what_it_last_knew(shop: Application) -> None:
    known = KnownPauses("shop")
    known.refresh()
    assert known.names == frozenset()
    control.pause(shop, "tills", by="ada")
    known.refresh()
    assert known.names == {"tills"}
    for odd in (b"no JSON", b'{"a": 1}', b"[" * 100_000):
        client().set(KEYS.paused, odd)
        known.refresh()
        assert known.names == {"tills"}
    client().delete(KEYS.paused)
    client().sadd(KEYS.paused, "another type")
    known.refresh()
    client().flushdb()
    known.refresh()
    assert known.names == {"tills"}, "a Redis that has lost its data does not resume anything"
    copies.copy_attached()
    known.refresh()
    assert known.names == {"tills"}
    AttachedPause.objects.all().delete()
    copies.copy_attached()
    known.refresh()
    assert known.names == frozenset()


# --- Ages ---


def test_the_oldest_task_that_is_known_to_wait_is_told(person: Client, api: ApiClient, shop: Application) -> None:
    beat(("tills", 2), ("empty", 0), ("silent", 4))
    now = timezone.now()
    for queue, minutes in (("tills", 5), ("tills", 9), ("empty", 3)):
        Task.objects.create(
            name="t", queue=queue, status="QUEUED", source="external", created_at=now, application=shop,
            queued_at=now - timedelta(minutes=minutes),
        )  # fmt: skip
    found = {queue.name: queue.oldest_seconds for queue in attached_queues.queues_of(shop).queues}
    assert 540 <= (found["tills"] or 0) < 600
    assert (found["empty"], found["silent"]) == (None, None), "nothing waits in the one, and of the other nothing is known"
    row = api("read").get("/api/v1/queues/tills?application=shop").json()
    assert 540 <= row["oldest_seconds"] < 600
    assert "Of the tasks whose sender reports to Zenith" in person.get("/queues/?application=shop").content.decode()
