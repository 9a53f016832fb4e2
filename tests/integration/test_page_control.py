"""The pages of workers and queues, and what can be done from them."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tasks_app.dispatch.create import Dispatch, Origin, dispatch
from tasks_app.models import QueuePause, Task
from zenith_site.models import AuditEntry
from zenith_worker.wire import clearing, heartbeat, keys, stream
from zenith_worker.wire.instance import instance
from zenith_worker.wire.keys import TAKEN
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)
WORKER = "w1@host"


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


def beat(name: str = WORKER) -> None:
    heartbeat.write(name, slots=4, busy=1, queues=["default", "reports/eu"])


def text(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def test_without_a_worker_the_page_says_how_to_start_one(person: Client) -> None:
    assert "<b>No workers</b>" in text(person, "/workers/")
    assert "default" in text(person, "/queues/")


def test_a_worker_is_listed_with_its_slots_and_queues(person: Client) -> None:
    beat()
    page = text(person, "/workers/")
    assert "1 online, 1 of 4 slots busy" in page
    assert "reports/eu" in page
    assert "Restart the pool" in text(person, f"/workers/{WORKER}/")


def test_the_pages_take_few_queries_however_many_there_are(person: Client, django_assert_max_num_queries: Any) -> None:
    for count in (1, 20):
        for number in range(count):
            beat(f"w{number}@host")
        for path in ("/workers/", "/workers/w0@host/", "/queues/", "/queues/of/reports/eu/"):
            with django_assert_max_num_queries(12):
                text(person, path)


@pytest.mark.parametrize("path", ["/workers/nobody/", "/workers/nobody/grow/", f"/workers/{WORKER}/explode/", "/queues/of/none/"])
def test_what_is_not_there_is_404(person: Client, path: str) -> None:
    beat()
    assert person.get(path).status_code == 404


def test_a_worker_that_does_not_answer_is_said_calmly(person: Client) -> None:
    beat()
    assert "Slots" in text(person, f"/workers/{WORKER}/grow/")
    answer = person.post(f"/workers/{WORKER}/grow/", {"slots": "1"}, follow=True)
    assert answer.redirect_chain == [(f"/workers/{WORKER}/", 302)]
    assert "toast-warning" in answer.content.decode()


def test_what_a_command_cannot_take_is_said_beside_the_field(person: Client) -> None:
    beat()
    answer = person.post(f"/workers/{WORKER}/autoscale/", {"minimum": "3", "maximum": "2"})
    assert answer.status_code == 422
    assert "field-error" in answer.content.decode()


def die(name: str, seconds: float = 20) -> None:
    """Let so much of the life of its heartbeat be over."""
    stream.client().pexpire(keys.WORKER + name, int((heartbeat.KEPT - seconds) * 1000))


def test_workers_that_are_gone_are_cleared_after_a_question_that_names_the_count(person: Client) -> None:
    for name in ("w1@host", "w2@host", "w3@host"):
        beat(name)
    assert "clear-workers" not in text(person, "/workers/")
    die("w2@host"), die("w3@host")
    assert "Clear 2 lost" in text(person, "/workers/")
    assert "2 workers will be removed from the list" in text(person, "/clear-workers/")
    assert "2 workers cleared." in person.post("/clear-workers/", follow=True).content.decode()
    assert [one.name for one in heartbeat.read_all()] == ["w1@host"]
    assert AuditEntry.objects.get(path="/clear-workers/").detail["workers"] == ["w2@host", "w3@host"]


def test_one_worker_that_is_gone_offers_nothing_but_to_be_cleared(person: Client) -> None:
    beat()
    assert "/clear/" not in text(person, f"/workers/{WORKER}/")
    refused = person.post(f"/workers/{WORKER}/clear/", follow=True).content.decode()
    assert "sent a heartbeat within the last 12 s" in refused
    die(WORKER)
    page = text(person, f"/workers/{WORKER}/")
    assert f"/workers/{WORKER}/clear/" in page
    assert "/grow/" not in page
    assert "will be removed from the list" in text(person, f"/workers/{WORKER}/clear/")
    assert f"{WORKER} was cleared." in person.post(f"/workers/{WORKER}/clear/", follow=True).content.decode()
    assert "<b>No workers</b>" in text(person, "/workers/")
    assert clearing.cleared_by([WORKER, "other"]) == {WORKER: "olga"}


def test_a_worker_whose_tasks_were_not_given_back_is_not_cleared(person: Client) -> None:
    beat()
    die(WORKER)
    stream.client().hset(TAKEN, "tag", instance())
    assert "have not been returned to their queues yet" in person.post(f"/workers/{WORKER}/clear/", follow=True).content.decode()
    assert WORKER in person.post("/clear-workers/", follow=True).content.decode()
    stream.client().hdel(TAKEN, "tag")
    assert f"{WORKER} was cleared." in person.post(f"/workers/{WORKER}/clear/", follow=True).content.decode()


@pytest.mark.parametrize(("seconds", "outcome"), [(11.5, "beating"), (12.5, "cleared")])
def test_only_a_dead_worker_is_cleared_and_its_run_still_counts_as_it_did(seconds: float, outcome: str) -> None:
    beat()
    die(WORKER, seconds)
    alive = stream.client().keys(keys.ALIVE + "*")
    assert clearing.clear(WORKER, "ada") == outcome
    assert stream.client().keys(keys.ALIVE + "*") == alive != []
    assert clearing.clear("nobody", "ada") == clearing.Clearing.UNKNOWN
    beat()
    assert heartbeat.read_all()[0].online, "it came back"


def test_names_of_forgotten_workers_are_dropped(person: Client) -> None:
    beat()
    stream.client().delete(keys.WORKER + WORKER)
    assert heartbeat.read_all() == []
    assert not stream.client().exists(keys.WORKERS)


def test_a_queue_is_paused_with_a_note_and_resumed(person: Client) -> None:
    beat()
    name = "reports/eu"
    assert "nothing is sent to it" in text(person, f"/queues/pause/{name}/")
    person.post(f"/queues/pause/{name}/", {"note": "The bank is down."})
    assert QueuePause.objects.get().queue == name
    assert "The bank is down." in text(person, f"/queues/of/{name}/")
    person.post(f"/queues/resume/{name}/")
    assert not QueuePause.objects.exists()


def test_a_queue_is_purged_after_a_question_that_names_the_count(person: Client) -> None:
    beat()
    dispatch(Dispatch(task="analyze_text", data=["a", "b", "c"]), Origin(source="api"))
    assert "Revoke 3 tasks" in text(person, "/queues/purge/default/")
    assert "3 tasks revoked." in person.post("/queues/purge/default/", follow=True).content.decode()
    assert Task.objects.exclude(cancel_requested_at=None).count() == 3
    assert stream.client().llen("default") == 0
    assert AuditEntry.objects.get(path="/queues/purge/default/").detail["revoked"] == 3


def test_the_next_messages_are_shown(person: Client) -> None:
    beat()
    (id_,) = dispatch(Dispatch(task="analyze_text", data=["a"]), Origin(source="api")).ids
    assert Task.objects.get().status == Status.QUEUED
    assert str(id_) in text(person, "/queues/of/default/")


def test_the_next_in_line_lead_to_their_tasks_if_these_are_known(person: Client) -> None:
    beat()
    known, unknown = dispatch(Dispatch(task="analyze_text", data=["a", "b"]), Origin(source="api")).ids
    Task.objects.filter(id=unknown).delete()
    page = text(person, "/queues/of/default/")
    assert f'href="/tasks/{known}/"' in page
    assert f'href="/tasks/{unknown}/"' not in page


@pytest.mark.parametrize("command", ["rate-limit", "time-limit"])
def test_a_limit_is_for_one_of_the_tasks_that_there_are(person: Client, command: str) -> None:
    beat()
    path = f"/workers/{WORKER}/{command}/"
    page = text(person, path)
    assert '<option value="analyze_text">' in page
    answer = person.post(path, {"task": "nothing", "limit": "1/s", "hard": "5"})
    assert (answer.status_code, "is not one of the available choices" in answer.content.decode()) == (422, True)


def test_both_lists_are_saved_as_files(person: Client) -> None:
    beat()
    assert WORKER in person.get("/workers/?format=csv").getvalue().decode()
    assert "reports/eu" in person.get("/queues/?format=json").getvalue().decode()


def test_who_may_only_look_is_offered_no_controls() -> None:
    client = Client()
    client.force_login(User.objects.create_user("vera", password="a long enough one"))
    beat()
    assert "/grow/" not in text(client, f"/workers/{WORKER}/")
    assert "/purge/" not in text(client, "/queues/")
