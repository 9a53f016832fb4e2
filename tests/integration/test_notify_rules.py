"""Rules that people make: what fires them and ends it, what they may say, who may make them, and what a preview says."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tasks_app.models import Application, DeadLetter, MinuteRollup, QueueSample
from tasks_app.models.application import NATIVE_ID
from tasks_app.models.task_keys import forget_applications
from tasks_app.recording.apply import apply
from tasks_app.recording.rollups import BUCKETS
from tasks_app.watching import observer_state
from tasks_app.watching.observer_state import ObserverState
from tests.integration.conftest import ApiClient
from zenith_site.models import AuditEntry
from zenith_site.notify import inbox, rule_evaluation
from zenith_site.notify.kinds import NotificationKind, Severity, Subject
from zenith_site.notify.models import Delivery, Notification, NotificationRule
from zenith_site.notify.rule_evaluation import RuleEvaluator, preview
from zenith_site.notify.rules import Rule
from zenith_site.notify.watch import Watch
from zenith_worker.wire import heartbeat, stream
from zenith_worker.wire.events import Event
from zenith_worker.wire.states import Status

pytestmark = pytest.mark.django_db(transaction=True)
HTMX = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    stream.client().flushdb()


@pytest.fixture
def look() -> Callable[[], None]:
    """Evaluate the rules as an engine does; each time as if all were due."""

    def evaluate() -> None:
        rule = Rule(NotificationKind.RULE, Severity.WARNING, RuleEvaluator().evaluate, for_=0.0, keep_firing_for=0.0)
        Watch([rule]).evaluate()

    return evaluate


def made(subject: Subject, **fields: Any) -> NotificationRule:
    return NotificationRule.objects.create(**{"name": "Mine", "subject": subject, "severity": "critical", **fields})


def fail(
    count: int = 1, *, task: str = "shop.report", error: str = "OSError", application: str = "", queue: str = "high"
) -> None:
    key = Application.objects.get(name=application).pk if application else NATIVE_ID
    apply(
        [
            Event(
                task_id=f"{task}-{time.time_ns()}-{number}", status=Status.FAILURE, at=time.time(), name=task, queue=queue,
                args=[], kwargs={}, worker="w@h", error_type=error, error_message="no answer", traceback="",
                application=application,
            )
            for number in range(count)
        ],
        {application: key},
    )  # fmt: skip


def opened() -> list[Notification]:
    return list(Notification.objects.filter(kind=NotificationKind.RULE).order_by("id"))


# --- What fires ---


def test_more_failures_than_a_rule_allows_open_one_notification_and_its_end_is_on_the_same(look: Callable[[], None]) -> None:
    rule = made(Subject.FAILURES, task="shop.*", threshold=2, minutes=5)
    fail(2)
    fail(5, task="other.report")
    look()
    assert opened() == []
    fail(1)
    look()
    look()
    (found,) = opened()
    assert (found.title, found.severity, found.key, found.count) == ("Mine", "critical", str(rule.pk), 3)
    assert found.body == "3 tasks failed for good within 5 m; the rule allows 2. Only task shop.*."
    assert found.link == "/tasks/?q=status%3AFAILURE+name%3Ashop.%2A"
    DeadLetter.objects.update(created_at=timezone.now() - timedelta(minutes=6))
    look()
    (found,) = opened()
    assert (found.over, found.recovery) == (True, "It is within what the rule allows.")


@pytest.mark.parametrize(
    ("fields", "fires"),
    [
        ({"queue": "hi*"}, True), ({"queue": "low"}, False),
        ({"error_type": "OS*"}, True), ({"error_type": "ValueError"}, False),
        ({"task": "shop_report"}, False), ({"task": "%"}, False), ({"fingerprint": "none"}, False),
        ({"application": "zenith"}, True), ({"application": "florist"}, False), ({"application": "gone"}, False),
    ],
)  # fmt: skip
def test_filters_narrow_a_rule_down(fields: dict[str, str], fires: bool, look: Callable[[], None]) -> None:
    Application.objects.create(name="florist", kind="attached")
    forget_applications()
    made(Subject.FAILURES, **fields)
    fail()
    look()
    assert bool(opened()) == fires


def test_an_attached_application_has_rules_as_well(look: Callable[[], None]) -> None:
    Application.objects.create(name="florist", kind="attached")
    forget_applications()
    made(Subject.FAILURES, application="florist")
    fail(application="florist")
    look()
    assert [found.body for found in opened()] == [
        "1 task failed for good within 5 m; the rule allows 0. Only application florist."
    ]


def ended(minute: Any, succeeded: int, failed: int) -> None:
    MinuteRollup.objects.create(
        minute=minute, name="shop.report", queue="high", succeeded=succeeded, failed=failed, runtime_histogram=[0] * BUCKETS
    )


def test_a_share_of_failures_needs_enough_tasks(look: Callable[[], None]) -> None:
    made(Subject.FAILURE_SHARE, share=20, threshold=10, minutes=10)
    minute = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=2)
    ended(minute, succeeded=5, failed=4)
    look()
    assert opened() == []
    ended(minute + timedelta(minutes=1), succeeded=6, failed=0)
    look()
    assert [found.body for found in opened()] == ["27 % of 15 tasks failed within 10 m; the rule allows 20 %."]


def sampled(depths: list[int], queue: str = "high") -> None:
    """Samples of a queue, one a minute; the last is of this minute."""
    now = timezone.now().replace(second=0, microsecond=0)
    QueueSample.objects.bulk_create(
        QueueSample(minute=now - timedelta(minutes=age), queue=queue, depth=depth, unacknowledged=0)
        for age, depth in enumerate(reversed(depths))
    )


@pytest.mark.parametrize(
    ("depths", "fires"), [([11, 12, 13], True), ([11, 12], False), ([11, 9, 13], False), ([5, 11, 12, 13], True)]
)
def test_a_queue_has_to_be_deep_for_the_whole_window(depths: list[int], fires: bool, look: Callable[[], None]) -> None:
    made(Subject.QUEUE_DEPTH, queue="high", threshold=10, minutes=3)
    sampled(depths)
    look()
    assert bool(opened()) == fires


def test_a_worker_that_is_gone_has_a_notification_of_its_own(look: Callable[[], None], settings: Any) -> None:
    rule = made(Subject.WORKER_GONE, worker="report*", severity="info")
    for name in ("report@a", "report@b", "mail@a"):
        heartbeat.write(name, slots=1, busy=0, queues=["high"])
    look()
    assert opened() == []
    # As if so much time had passed: every heartbeat counts as old.
    settings.ZENITH_NOTIFY_WORKER_GONE = 0
    look()
    assert [(found.key, found.title, found.severity) for found in opened()] == [
        (f"{rule.pk}/zenith/report@{host}", f"Mine: worker report@{host} is lost", "info") for host in "ab"
    ]
    settings.ZENITH_NOTIFY_WORKER_GONE = 30
    look()
    assert [found.recovery for found in opened()] == ["The worker is back online."] * 2


def test_workers_that_nobody_listens_to_are_not_called_gone(look: Callable[[], None], settings: Any) -> None:
    Application.objects.create(name="florist", kind="watched", broker="x")
    forget_applications()
    made(Subject.WORKER_GONE)
    heartbeat.write("w@florist", slots=1, busy=0, queues=["high"], application="florist")
    settings.ZENITH_NOTIFY_WORKER_GONE = -observer_state.KEPT
    look()
    assert opened() == []
    observer_state.write("florist", ObserverState(listens=True, since=time.time() - 60))
    look()
    assert [found.title for found in opened()] == ["Mine: worker w@florist is lost"]


def test_a_rule_counts_what_zenith_notices_by_itself(look: Callable[[], None]) -> None:
    made(Subject.KIND, kind=NotificationKind.FAULT, threshold=1, minutes=60)
    now = timezone.now()
    for key in "ab":
        look()
        assert opened() == []
        Notification.objects.create(
            kind=NotificationKind.FAULT, key=key, severity="critical", title=key, link="/", opened_at=now, last_seen_at=now
        )
    look()
    assert [found.link for found in opened()] == ["/notifications/?kind=fault"]


def test_what_a_removed_rule_opened_is_over(look: Callable[[], None]) -> None:
    rule = made(Subject.FAILURES)
    fail()
    look()
    rule.delete()
    look()
    assert [found.recovery for found in opened()] == ["The rule was removed."]


def test_a_muted_rule_opens_nothing_until_then(look: Callable[[], None]) -> None:
    rule = made(Subject.FAILURES, muted_until=timezone.now() + timedelta(hours=1))
    fail()
    look()
    assert opened() == []
    rule.muted_until = timezone.now() - timedelta(seconds=1)
    rule.save()
    look()
    assert len(opened()) == 1


def test_a_rule_that_cannot_be_read_stops_no_other(look: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    made(Subject.FAILURES, name="Slow", threshold=0)
    made(Subject.KIND, name="Quick", kind=NotificationKind.FAULT)
    now = timezone.now()
    Notification.objects.create(
        kind=NotificationKind.FAULT, key="x", severity="critical", title="x", link="/", opened_at=now, last_seen_at=now
    )
    known = rule_evaluation.measure_of(Subject.FAILURES)
    assert known is not None

    def slow(rule: NotificationRule, since: Any) -> list[Any]:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")
        return []

    monkeypatch.setattr(rule_evaluation, "READING", 0.05)
    monkeypatch.setitem(rule_evaluation.measure_of.__globals__["_MEASURES"], Subject.FAILURES, type(known)(slow, known.link))
    look()
    assert [found.title for found in opened()] == ["Quick"]


def test_a_result_counts_until_the_rule_is_due_again_or_changed() -> None:
    rule = made(Subject.FAILURES, minutes=60)
    evaluator = RuleEvaluator()
    assert evaluator.evaluate(frozenset()).holding == []
    fail()
    assert evaluator.evaluate(frozenset()).holding == []
    rule.save()
    assert len(evaluator.evaluate(frozenset()).holding) == 1


# --- Where it goes ---


def test_a_rule_sends_to_its_own_channels_and_to_no_other(look: Callable[[], None], settings: Any) -> None:
    settings.ZENITH_NOTIFY_SLACK_URL = settings.ZENITH_NOTIFY_WEBHOOK_URL = "http://localhost:1/"
    made(Subject.FAILURES, name="Sends", channels=["slack"])
    made(Subject.FAILURES, name="Silent")
    fail()
    look()
    assert [(sent.notification.title, sent.channel) for sent in Delivery.objects.select_related("notification")] == [
        ("Sends", "slack")
    ]


def test_a_muted_notification_is_not_sent_nor_counted_also_if_it_comes_back(
    look: Callable[[], None], settings: Any, member: User
) -> None:
    settings.ZENITH_NOTIFY_SLACK_URL = "http://localhost:1/"
    made(Subject.FAILURES, channels=["slack"])
    fail()
    look()
    (found,) = opened()
    inbox.mute(found, timezone.now() + timedelta(hours=1))
    Notification.objects.update(opened_at=timezone.now() + timedelta(seconds=1))
    Delivery.objects.update(state="sent")
    DeadLetter.objects.update(created_at=timezone.now() - timedelta(hours=1))
    look()
    fail()
    look()
    first, second = opened()
    assert (first.over, first.muted, second.over, second.muted) == (True, True, False, True)
    assert Delivery.objects.count() == 1
    assert inbox.bell(member).unread == 0


def test_the_bell_and_the_page_show_the_most_urgent_first(person: Client) -> None:
    now = timezone.now() + timedelta(seconds=1)
    common = {"kind": NotificationKind.FAULT, "link": "/", "opened_at": now, "last_seen_at": now}
    for title, severity, over in (
        ("a", "critical", True),
        ("b", "critical", False),
        ("c", "warning", False),
        ("d", "info", False),
    ):
        Notification.objects.create(key=title, title=title, severity=severity, recovered_at=now if over else None, **common)
    response = person.get("/notifications/")
    assert [found.title for found in response.context["notifications"]] == ["b", "c", "d", "a"]
    assert [found.title for found in response.context["bell"].notices] == ["b", "c", "d", "a"]


def test_pages_by_urgency_lose_and_repeat_nothing(person: Client, admin: User) -> None:
    now = timezone.now()
    for number in range(9):
        Notification.objects.create(
            kind=NotificationKind.FAULT, key=str(number), title=str(number), severity=list(Severity)[number % 3], link="/",
            opened_at=now, last_seen_at=now, recovered_at=now if number % 4 == 0 else None,
        )  # fmt: skip
    filter_ = inbox.NotificationFilter(limit=2, order="severity")
    seen: list[str] = []
    while filter_ is not None:
        page = filter_.page(admin)
        seen += [found.title for found in page.notifications]
        filter_ = page.following
    assert seen == ["5", "2", "7", "1", "6", "3", "8", "4", "0"]


# --- Previews ---


def test_a_preview_counts_how_often_it_would_have_begun_to_fire() -> None:
    rule = made(Subject.FAILURE_SHARE, share=50, threshold=1, minutes=5)
    now = timezone.now().replace(second=0, microsecond=0)
    for age in (600, 599, 300, 20):
        ended(now - timedelta(minutes=age), succeeded=0, failed=3)
    assert preview(rule) == [int((now - timedelta(minutes=age)).timestamp()) for age in (600, 300, 20)]
    assert preview(made(Subject.WORKER_GONE)) is None


# --- The page ---


FIELDS = {"name": "Reports fail", "task": "shop.*", "threshold": "3", "minutes": "5", "severity": "critical"}


def test_a_rule_is_made_changed_muted_tested_and_removed_on_the_page(person: Client, settings: Any) -> None:
    settings.ZENITH_NOTIFY_SLACK_URL = "http://localhost:1/"
    olga = User.objects.get(username="olga")
    assert "No rules yet" in person.get("/notifications/rules/").content.decode()
    response = person.post("/notifications/rules/new/?about=failures", {**FIELDS, "channels": ["slack"], "owner": "olga"})
    assert (response.status_code, response.headers["Location"]) == (302, "/notifications/rules/")
    rule = NotificationRule.objects.get()
    assert (rule.subject, rule.threshold, rule.channels, rule.owner, rule.created_by) == ("failures", 3, ["slack"], olga, "olga")
    page = f"/notifications/rules/{rule.pk}/"
    assert person.post(page, {**FIELDS, "minutes": "10", "owner": "olga"}).status_code == 302
    person.post(f"{page}test/")
    assert Delivery.objects.count() == 0
    NotificationRule.objects.update(channels=["slack"])
    person.post(f"{page}test/")
    assert [(sent.channel, sent.step, sent.notification) for sent in Delivery.objects.all()] == [("slack", "test", None)]
    person.post(f"{page}mute/", {"hours": "8"})
    assert NotificationRule.objects.get().muted
    assert "Muted" in person.get("/notifications/rules/").content.decode()
    person.post(f"{page}mute/", {"hours": "0"})
    assert not NotificationRule.objects.get().muted
    assert "Remove rule" in person.get(f"{page}remove/").content.decode()
    person.post(f"{page}remove/")
    assert not NotificationRule.objects.exists()
    details = [entry.detail for entry in AuditEntry.objects.filter(action__contains="rules/").order_by("id")]
    assert all(detail["rule"] == "Reports fail" for detail in details)
    assert len(details) == 7


def test_a_preview_on_the_page_saves_nothing(person: Client) -> None:
    fail(4)
    response = person.post("/notifications/rules/new/?about=failures", {**FIELDS, "preview": "1"}, headers=HTMX)
    assert response.context["previewed"]["count"] == 1
    assert "Would have fired 1 time in the last 24 hours" in " ".join(response.content.decode().split())
    assert not NotificationRule.objects.exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"minutes": "0"}, "greater than or equal to 1"),
        ({"minutes": "100000"}, "less than or equal to 1440"),
        ({"threshold": "-1"}, "greater than or equal to 0"),
        ({"severity": "loud"}, "not one of the available choices"),
        ({"channels": "pager"}, "This field is required"),
        ({"name": "a\x1bb"}, "must be printable"),
        ({"name": ""}, "This field is required"),
        ({"task": "x" * 256}, "at most 255 characters"),
    ],
    ids=["no window", "too long a window", "negative", "severity", "channel", "control character", "nameless", "long"],
)
def test_the_form_says_what_is_wrong(fields: dict[str, str], said: str, person: Client) -> None:
    if "channels" in fields:
        # Without any channel there is no such field.
        assert person.post("/notifications/rules/new/?about=failures", {**FIELDS, **fields}).status_code == 302
        return
    response = person.post("/notifications/rules/new/?about=failures", {**FIELDS, **fields}, headers=HTMX)
    assert response.status_code == 422
    assert said in response.content.decode()
    assert not NotificationRule.objects.exists()


def test_names_with_markup_are_only_text(person: Client, look: Callable[[], None]) -> None:
    name = "<script>alert(1)</script>"
    assert person.post("/notifications/rules/new/", {**FIELDS, "name": name, "task": name, "threshold": "0"}).status_code == 302
    fail(task=name)
    look()
    for page in ("/notifications/rules/", f"/notifications/rules/{NotificationRule.objects.get().pk}/", "/notifications/"):
        text = person.get(page).content.decode()
        assert name not in text
        assert "&lt;script&gt;" in text


def test_whoever_may_only_view_sees_rules_and_changes_none(member: User) -> None:
    client = Client(headers={"Accept": "text/html"})
    client.force_login(member)
    rule = made(Subject.FAILURES)
    page = client.get("/notifications/rules/").content.decode()
    assert "Mine" in page
    assert "New rule" not in page
    for path in ("new/", f"{rule.pk}/", f"{rule.pk}/mute/", f"{rule.pk}/test/", f"{rule.pk}/remove/"):
        assert client.post(f"/notifications/rules/{path}", FIELDS).status_code == 403
    assert NotificationRule.objects.get().name == "Mine"


def test_a_notification_is_muted_on_the_page(person: Client) -> None:
    now = timezone.now() + timedelta(seconds=1)
    found = Notification.objects.create(
        kind=NotificationKind.FAULT, key="x", title="x", severity="critical", link="/", opened_at=now, last_seen_at=now
    )
    assert "Mute for" in person.get(f"/notifications/{found.pk}/mute/").content.decode()
    assert person.post(f"/notifications/{found.pk}/mute/", {"hours": "24"}).status_code == 302
    found.refresh_from_db()
    assert found.muted
    assert AuditEntry.objects.latest("id").detail["notification"] == found.pk
    assert person.get("/notifications/").context["unread_count"] == 0
    assert person.post(f"/notifications/{found.pk}/mute/", {"hours": "x"}).status_code == 422


# --- The API ---


BODY = {"name": "Reports fail", "subject": "failures", "task": "shop.*", "threshold": 3}


def test_the_api_makes_shows_replaces_and_removes_rules(api: ApiClient) -> None:
    client = api("read", "operate")
    created = client.post("/api/v1/notification-rules", BODY, content_type="application/json")
    assert created.status_code == 201
    path = f"/api/v1/notification-rules/{created.json()['id']}"
    assert client.get(path).json() == created.json() == client.get("/api/v1/notification-rules").json()[0]
    until = (timezone.now() + timedelta(hours=1)).isoformat()
    replaced = client.put(path, {**BODY, "muted_until": until, "severity": "info"}, content_type="application/json")
    assert (replaced.status_code, replaced.json()["severity"]) == (200, "info")
    assert NotificationRule.objects.get().muted
    assert client.post(f"{path}/test").json() == {"sent": 0}
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def test_the_api_previews_a_rule_that_is_not_made(api: ApiClient) -> None:
    fail(4)
    answer = api("operate").post("/api/v1/notification-rules/preview", BODY, content_type="application/json").json()
    assert len(answer["times"]) == 1
    assert not NotificationRule.objects.exists()


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"subject": "anything"}, "subject"),
        ({"worker": "w*"}, "worker"),
        ({"kind": "fault"}, "kind"),
        ({"subject": "kind", "task": ""}, "kind"),
        ({"subject": "kind", "task": "", "kind": "rule"}, "kind"),
        ({"subject": "failure-share"}, "share"),
        ({"application": "gone"}, "application"),
        ({"channels": ["slack"]}, "channels"),
        ({"owner": "nobody"}, "owner"),
        ({"muted_until": "2000-01-01"}, "muted_until"),
        ({"muted_until": "2999-01-01T00:00:00Z"}, "muted_until"),
        ({"name": "a\x00b"}, "name"),
        ({"more": 1}, "more"),
    ],
)
def test_the_api_refuses_what_no_rule_may_say(changes: dict[str, Any], pointer: str, api: ApiClient) -> None:
    answer = api("operate").post("/api/v1/notification-rules", {**BODY, **changes}, content_type="application/json")
    assert answer.status_code == 422
    assert pointer in answer.content.decode()
    assert not NotificationRule.objects.exists()


def test_there_are_at_most_so_many_rules(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zenith_site.notify.rule_changes.MAX_RULES", 1)
    made(Subject.FAILURES)
    answer = api("operate").post("/api/v1/notification-rules", BODY, content_type="application/json")
    assert answer.status_code == 409


def test_the_api_mutes_a_notification(api: ApiClient) -> None:
    now = timezone.now()
    found = Notification.objects.create(
        kind=NotificationKind.FAULT, key="x", title="x", severity="critical", link="/", opened_at=now, last_seen_at=now
    )
    path = f"/api/v1/notifications/{found.pk}/mute"
    assert api("read").post(path, {"until": None}, content_type="application/json").status_code == 403
    until = (now + timedelta(hours=1)).isoformat()
    answer = api("operate", "read").post(path, {"until": until}, content_type="application/json")
    assert answer.status_code == 200
    assert answer.json()["muted_until"] is not None
    found.refresh_from_db()
    assert found.muted
