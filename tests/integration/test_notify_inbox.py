"""Notifications as people see them: the bell, the page, marking as read, files, and the same through the API."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.utils import timezone

from tests.integration.conftest import ApiClient
from zenith_site.models import AuditEntry
from zenith_site.notify import inbox
from zenith_site.notify.decisions import Alert, Evaluation
from zenith_site.notify.kinds import NotificationKind
from zenith_site.notify.models import Notification, Reading
from zenith_site.notify.rules import rules
from zenith_site.notify.watch import report

pytestmark = pytest.mark.django_db(transaction=True)
HTMX = {"HX-Request": "true"}


@pytest.fixture
def vera() -> User:
    return User.objects.create_user("vera", password="a long enough one")


@pytest.fixture
def person(vera: User) -> Client:
    client = Client(headers={"Accept": "text/html"})
    client.force_login(vera)
    return client


def opened(count: int = 1, kind: NotificationKind = NotificationKind.WORKER_GONE) -> list[int]:
    """Open so many notifications; return their ids, the newest first."""
    rule = next(rule for rule in rules() if rule.kind == kind)
    with transaction.atomic():
        report(
            rule, Evaluation([Alert(f"w{number:03}", f"w{number:03} is gone", "Why.", "/workers/") for number in range(count)])
        )
    return list(Notification.objects.filter(kind=kind).values_list("id", flat=True))


def page(client: Client, query: str = "", **headers: str) -> str:
    response = client.get(f"/notifications/{query}", headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def shown(client: Client, query: str = "") -> list[int]:
    return [found.id for found in client.get(f"/notifications/{query}").context["notifications"]]


# --- The bell ---


def test_the_bell_counts_what_is_unread_on_every_page(person: Client) -> None:
    assert "No unread notification" in person.get("/tasks/").content.decode()
    opened(3)
    text = person.get("/tasks/").content.decode()
    assert 'aria-label="Notifications, 3 unread"' in text
    assert text.count('class="menu-item notice"') == 3


def test_the_bell_shows_the_newest_and_counts_all(person: Client) -> None:
    ids = opened(9)
    bell = person.get("/tasks/").context["bell"]
    assert (bell.unread, [notice.id for notice in bell.notices]) == (9, ids[: inbox.NEWEST])


def test_the_bell_is_a_fragment_of_its_own(person: Client) -> None:
    opened()
    text = page(person, "?bell", **HTMX)
    assert text.lstrip().startswith('<div id="bell"')
    assert "1 unread" in text


def test_what_happened_before_somebody_joined_is_no_news_to_them() -> None:
    opened()
    Notification.objects.update(opened_at=timezone.now() - timedelta(hours=1))
    assert inbox.bell(User.objects.create_user("new")).unread == 0


def test_the_bell_costs_one_query(person: Client, vera: User, django_assert_num_queries: Any) -> None:
    opened(20)
    with django_assert_num_queries(1):
        assert inbox.bell(vera).unread == 20


# --- The page ---


def test_without_any_the_page_says_what_would_be_here(person: Client) -> None:
    text = page(person)
    assert "No notifications yet" in text
    assert "there is no channel" in text


def test_only_a_filter_that_hides_them_is_said(person: Client) -> None:
    opened()
    assert "Notifications exist, but none of them matches" in page(person, "?kind=stream-lag")
    person.post("/notifications/read/", {"all": "1"})
    assert "No unread notifications" in page(person, "?unread=1")


def test_a_filter_that_cannot_be_is_said_calmly(person: Client) -> None:
    for query in ("?kind=nonsense", "?cursor=-1", "?unread=perhaps"):
        assert 'role="alert"' in page(person, query)


def test_tabs_choose_what_is_unread_what_holds_and_kinds(person: Client) -> None:
    first, second = opened(2)
    (slow,) = opened(1, NotificationKind.QUEUE_AGE)
    Notification.objects.filter(id=first).update(recovered_at=timezone.now(), recovery="The worker is back online.")
    person.post("/notifications/read/", {"id": str(second)})
    assert shown(person) == [slow, second, first]
    assert shown(person, "?unread=1") == [slow, first]
    assert shown(person, "?open=1") == [slow, second]
    assert shown(person, "?kind=worker-gone") == [second, first]
    tabs = {tab["label"]: tab["count"] for tab in person.get("/notifications/").context["tabs"]}
    assert tabs == {"All": 3, "Unread": 2, "Ongoing": 2, "Worker lost": 2, "Queue backing up": 1}
    assert "The worker is back online." in page(person)


def test_pages_go_on_by_key(person: Client) -> None:
    ids = opened(60)
    first = person.get("/notifications/")
    second = person.get(f"/notifications/{first.context['next_url']}")
    assert [found.id for found in (*first.context["notifications"], *second.context["notifications"])] == ids
    assert not second.context["next_url"]
    assert second.context["first_url"] == "?"


def test_the_page_takes_few_queries_however_many_rows(person: Client, django_assert_max_num_queries: Any) -> None:
    for count in (1, 50):
        opened(count)
        with django_assert_max_num_queries(9):
            page(person)


def test_the_list_is_a_file(person: Client) -> None:
    ids = opened(2)
    rows = json.loads(person.get("/notifications/?format=json").getvalue())
    assert [(row["id"], row["title"], row["read"]) for row in rows] == [
        (ids[0], "w001 is gone", False),
        (ids[1], "w000 is gone", False),
    ]
    lines = list(csv.DictReader(io.StringIO(person.get("/notifications/?kind=queue-age&format=csv").getvalue().decode())))
    assert lines == []


# --- Marking ---


def test_one_some_and_all_are_marked_for_oneself_alone(person: Client, vera: User) -> None:
    ids = opened(4)
    olga = User.objects.create_user("olga", date_joined=timezone.now() - timedelta(days=1))
    person.post("/notifications/read/", {"id": str(ids[0])})
    person.post("/notifications/read/", {"id": [str(ids[1]), str(ids[2])]})
    assert shown(person, "?unread=1") == [ids[3]]
    person.post("/notifications/read/", {"all": "1"})
    assert (inbox.bell(vera).unread, inbox.bell(olga).unread) == (0, 4)


def test_marking_twice_is_marking_once(person: Client) -> None:
    (id_,) = opened()
    for _ in range(2):
        assert person.post("/notifications/read/", {"id": str(id_)}).status_code == 302
    assert Reading.objects.count() == 1


def test_marking_is_answered_where_it_was_asked_and_audited(person: Client) -> None:
    (id_,) = opened()
    response = person.post("/notifications/read/", {"id": str(id_), "next": "/queues/"})
    assert response.headers["Location"] == "/queues/"
    assert AuditEntry.objects.get(action="POST /notifications/read/").detail == {"read": 1}
    assert person.post("/notifications/read/", {"all": "1"}, headers=HTMX).headers["HX-Trigger"] == "zenith:changed"


@pytest.mark.parametrize("ids", [["nonsense"], ["-1"], ["9" * 30], ["4711"], []])
def test_what_is_not_there_is_nothing_to_mark(person: Client, ids: list[str]) -> None:
    opened()
    assert person.post("/notifications/read/", {"id": ids}).status_code == 302
    assert not Reading.objects.exists()


# --- The API ---


def test_programs_list_what_their_user_sees(api: ApiClient) -> None:
    ids = opened(3)
    client = api("read")
    response = client.get("/api/v1/notifications?limit=2")
    assert [row["id"] for row in response.json()] == ids[:2]
    assert response.json()[0] | {"id": 0, "opened_at": "", "last_seen_at": ""} == {
        "id": 0, "kind": "worker-gone", "key": "w002", "severity": "warning", "title": "w002 is gone", "body": "Why.",
        "link": "/workers/", "count": 1, "opened_at": "", "last_seen_at": "", "recovered_at": None, "recovery": "",
        "muted_until": None, "read": False, "deliveries": [],
    }  # fmt: skip
    following = response.headers["Link"].partition(">")[0].removeprefix("<http://testserver")
    assert [row["id"] for row in client.get(following).json()] == ids[2:]


def test_programs_mark_what_is_read(api: ApiClient) -> None:
    ids = opened(3)
    client = api("read")
    answer = client.post("/api/v1/notifications/read", {"ids": [ids[0], 4711]}, content_type="application/json")
    assert answer.json() == {"read": 1, "unread": 2}
    assert [row["id"] for row in client.get("/api/v1/notifications?unread=true").json()] == ids[1:]
    assert client.get(f"/api/v1/notifications/{ids[0]}").json()["read"] is True
    answer = client.post("/api/v1/notifications/read", {"all": True}, content_type="application/json")
    assert answer.json() == {"read": 2, "unread": 0}


@pytest.mark.parametrize(
    "body", [{}, {"ids": [], "all": True}, {"ids": [1], "all": True}, {"ids": ["1"]}, {"ids": [2**63]}, {"x": 1}]
)
def test_a_body_that_says_not_which_is_refused(api: ApiClient, body: dict[str, Any]) -> None:
    assert api("read").post("/api/v1/notifications/read", body, content_type="application/json").status_code == 422


@pytest.mark.parametrize("query", ["?kind=x", "?limit=0", "?limit=1001", "?cursor=-1", "?unknown=1", "?unread=perhaps"])
def test_a_query_that_cannot_be_is_refused(api: ApiClient, query: str) -> None:
    assert api("read").get(f"/api/v1/notifications{query}").status_code == 422


@pytest.mark.parametrize("id_", ["0", "4711", "nonsense", "-1", "9" * 30])
def test_what_is_not_there_is_not_found(api: ApiClient, id_: str) -> None:
    opened()
    assert api("read").get(f"/api/v1/notifications/{id_}").status_code == 404
