"""What goes out, to real receivers: by mail, Slack and webhook, throttled, with its end, and again after an outage."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from tests.processes import REPOSITORY, free_port
from tests.sinks import MailSink, Posted, WebSink, mail_sink, web_sink
from zenith_site.notify import channels, outbox
from zenith_site.notify.decisions import Alert, Evaluation
from zenith_site.notify.kinds import NotificationKind
from zenith_site.notify.models import Delivery, DeliveryState, Notification, Step
from zenith_site.notify.outbox import LEASE, claim, record_outcome, send_next
from zenith_site.notify.routes import parse_routes, parse_throttle
from zenith_site.notify.rules import rules
from zenith_site.notify.watch import report

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "a secret of more than sixteen"


@pytest.fixture(autouse=True)
def plain(settings: Any) -> None:
    """No channel is set, and nothing is throttled."""
    settings.ZENITH_PUBLIC_URL = "https://zenith.example.com"
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.ZENITH_NOTIFY_THROTTLE = parse_throttle("0")


@pytest.fixture
def webhook(settings: Any) -> Iterator[WebSink]:
    with web_sink() as sink:
        settings.ZENITH_NOTIFY_WEBHOOK_URL = sink.url
        settings.ZENITH_NOTIFY_WEBHOOK_SECRET = SECRET
        yield sink


@pytest.fixture
def slack(settings: Any) -> Iterator[WebSink]:
    with web_sink() as sink:
        settings.ZENITH_NOTIFY_SLACK_URL = sink.url
        yield sink


@pytest.fixture
def mail(settings: Any) -> Iterator[MailSink]:
    with mail_sink() as sink:
        settings.ZENITH_NOTIFY_EMAIL = ["ops@example.com", "oncall@example.com"]
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", sink.port
        settings.DEFAULT_FROM_EMAIL = "Zenith <zenith@example.com>"
        yield sink


def look(
    holding: dict[str, str] | None = None,
    over: dict[str, str] | None = None,
    kind: NotificationKind = NotificationKind.DEAD_LETTER,
) -> None:
    """Decide that conditions hold (their titles by key), and that others are over."""
    rule = next(rule for rule in rules() if rule.kind == kind)
    found = [Alert(key, title, "no <answer> & more", f"/cause/{key}/") for key, title in (holding or {}).items()]
    Notification.objects.update(last_seen_at=timezone.now() - timedelta(minutes=5))
    with transaction.atomic():
        report(rule, Evaluation(found, over or {}))


def send_all() -> int:
    sent = 0
    while send_next():
        sent += 1
    return sent


def later(**span: float) -> None:
    """Let so much time pass for everything that waits, and for the throttle."""
    for delivery in Delivery.objects.all():
        for name in ("created_at", "due_at", "begun_at"):
            if (moment := getattr(delivery, name)) is not None:
                setattr(delivery, name, moment - timedelta(**span))
        delivery.save()


def states() -> list[tuple[str, str, str]]:
    return list(Delivery.objects.order_by("id").values_list("channel", "step", "state"))


# --- Each channel ---


def test_a_mail_says_what_happened_where_and_its_end(mail: MailSink) -> None:
    look({"a": "OSError in mail.send"})
    assert send_all() == 1
    look(over={"a": "All its dead letters were replayed or discarded."})
    assert send_all() == 1
    first, second = mail.mails
    assert first["Subject"] == "[Zenith] OSError in mail.send"
    assert (first["From"], first["To"]) == ("Zenith <zenith@example.com>", "ops@example.com, oncall@example.com")
    assert first.get_content().splitlines() == [
        "OSError in mail.send",
        "no <answer> & more",
        "https://zenith.example.com/cause/a/",
    ]
    assert second["Subject"] == "[Zenith] Recovered: OSError in mail.send"
    assert "All its dead letters were replayed or discarded. It lasted" in second.get_content()
    assert first["Message-ID"] != second["Message-ID"]
    assert states() == [("email", "opened", "sent"), ("email", "recovered", "sent")]


def test_slack_gets_text_that_pings_nobody(slack: WebSink) -> None:
    look({"a": "<!channel> & co"})
    send_all()
    (posted,) = slack.posted
    assert posted.headers["content-type"] == "application/json"
    assert posted.json["text"].splitlines()[:2] == ["🟠 *&lt;!channel&gt; &amp; co*", "&lt;!channel&gt; &amp; co"]
    assert posted.json["text"].endswith("https://zenith.example.com/cause/a/")


def test_a_webhook_says_it_as_json(webhook: WebSink) -> None:
    look({"a": "OSError in mail.send"})
    send_all()
    look(over={"a": "It ended."})
    send_all()
    opened, recovered = webhook.posted
    assert opened.path == "/hook/s3cret-part"
    assert opened.json["type"] == "notification.opened"
    assert opened.json["id"] == opened.headers["webhook-id"]
    (told,) = opened.json["data"]["notifications"]
    assert told | {"id": 1, "opened_at": ""} == {
        "id": 1, "kind": "dead-letter", "key": "a", "severity": "warning", "title": "OSError in mail.send",
        "body": "no <answer> & more", "url": "https://zenith.example.com/cause/a/", "count": 1, "opened_at": "",
        "recovered_at": None, "recovery": "",
    }  # fmt: skip
    (told,) = recovered.json["data"]["notifications"]
    assert (recovered.json["type"], told["recovery"]) == ("notification.recovered", "It ended.")


def verifier() -> Any:
    """The function that docs/notifications.md shows receivers."""
    text = (REPOSITORY / "docs" / "notifications.md").read_text()
    found: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], found)  # noqa: S102 -- this project's own documentation
    return found["verify"]


def test_a_receiver_checks_the_signature_as_the_documentation_shows(webhook: WebSink) -> None:
    look({"a": "OSError"})
    send_all()
    (posted,) = webhook.posted
    verify = verifier()
    assert verify(SECRET, posted.headers, posted.body)
    assert not verify("another secret", posted.headers, posted.body)
    assert not verify(SECRET, posted.headers, posted.body + b" ")
    old = {**posted.headers, "webhook-timestamp": str(int(posted.headers["webhook-timestamp"]) - 3600)}
    assert not verify(SECRET, old, posted.body)


def test_only_what_its_route_takes_goes_through_a_channel(mail: MailSink, webhook: WebSink, settings: Any) -> None:
    settings.ZENITH_NOTIFY_ROUTES = parse_routes("email=critical;webhook=dead-letter")
    look({"a": "OSError"})
    look({"": "The recorder is behind"}, kind=NotificationKind.STREAM_LAG)
    send_all()
    assert [sent["Subject"] for sent in mail.mails] == ["[Zenith] The recorder is behind"]
    assert [posted.json["data"]["notifications"][0]["kind"] for posted in webhook.posted] == ["dead-letter"]


def test_without_a_channel_nothing_is_written_to_be_sent() -> None:
    look({"a": "OSError"})
    assert not Delivery.objects.exists()
    assert send_all() == 0


def test_a_channel_that_is_set_no_more_gets_nothing(webhook: WebSink, settings: Any) -> None:
    look({"a": "OSError"})
    settings.ZENITH_NOTIFY_WEBHOOK_URL = ""
    assert send_all() == 0
    assert states() == [("webhook", "opened", "skipped")]


# --- The throttle ---


def keys(posted: Posted) -> list[str]:
    return [told["key"] for told in posted.json["data"]["notifications"]]


def test_what_comes_at_once_goes_out_as_one(webhook: WebSink) -> None:
    look({"a": "OSError", "b": "KeyError", "c": "ValueError"})
    assert send_all() == 1
    assert keys(webhook.posted[0]) == ["a", "b", "c"]


def test_the_first_goes_at_once_and_what_follows_together_once_the_throttle_allows(webhook: WebSink, settings: Any) -> None:
    settings.ZENITH_NOTIFY_THROTTLE = parse_throttle("300")
    look({"a": "OSError"})
    assert send_all() == 1
    look({"b": "KeyError"})
    assert send_all() == 0
    look({"c": "ValueError"})
    assert send_all() == 0
    later(seconds=200)
    assert send_all() == 0
    later(seconds=101)
    assert send_all() == 1
    assert [keys(posted) for posted in webhook.posted] == [["a"], ["b", "c"]]


def test_kinds_and_channels_are_throttled_apart(webhook: WebSink, slack: WebSink, settings: Any) -> None:
    settings.ZENITH_NOTIFY_THROTTLE = parse_throttle("300,worker-gone=0")
    look({"a": "OSError"})
    look({"w1": "w1 is gone"}, kind=NotificationKind.WORKER_GONE)
    send_all()
    look({"w2": "w2 is gone"}, kind=NotificationKind.WORKER_GONE)
    look({"b": "KeyError"})
    send_all()
    assert [keys(posted) for posted in webhook.posted] == [["a"], ["w1"], ["w2"]]
    assert len(slack.posted) == 3


def test_what_is_over_before_it_was_told_is_not_told_and_neither_is_its_end(webhook: WebSink, settings: Any) -> None:
    settings.ZENITH_NOTIFY_THROTTLE = parse_throttle("300")
    look({"a": "OSError"})
    send_all()
    look({"b": "KeyError"})
    send_all()
    look(over={"a": "It ended.", "b": "It ended."})
    later(seconds=301)
    send_all()
    assert [(posted.json["type"], keys(posted)) for posted in webhook.posted] == [
        ("notification.opened", ["a"]), ("notification.recovered", ["a"]),
    ]  # fmt: skip
    assert states() == [("webhook", "opened", "sent"), ("webhook", "opened", "skipped"), ("webhook", "recovered", "sent")]


def test_a_long_list_names_the_first_and_counts_the_rest(mail: MailSink) -> None:
    look({f"{number:02}": f"Error {number}" for number in range(25)})
    assert send_all() == 1
    assert mail.mails[0]["Subject"] == "[Zenith] New failure (25)"
    assert "… and 15 more: https://zenith.example.com/notifications/" in mail.mails[0].get_content()


# --- Receivers that are away, refuse, or lead elsewhere ---


def test_a_receiver_that_was_away_gets_it_with_the_same_id_and_the_end_after_it(webhook: WebSink, settings: Any) -> None:
    working, settings.ZENITH_NOTIFY_WEBHOOK_URL = webhook.url, f"http://127.0.0.1:{free_port()}/"
    look({"a": "OSError"})
    assert send_all() == 1
    look(over={"a": "It ended."})
    assert send_all() == 0
    delivery = Delivery.objects.get(step=Step.OPENED)
    assert (delivery.state, delivery.attempts) == (DeliveryState.WAITING, 1)
    assert "refused" in delivery.error
    later(seconds=11)
    send_all()
    settings.ZENITH_NOTIFY_WEBHOOK_URL = working
    later(seconds=21)
    assert send_all() == 2
    first, second = webhook.posted
    assert first.headers["webhook-id"] == str(delivery.message)
    assert [first.json["type"], second.json["type"]] == ["notification.opened", "notification.recovered"]
    assert Delivery.objects.get(step=Step.OPENED).attempts == 3


@pytest.mark.parametrize(
    ("status", "answer", "error", "pause"),
    [
        (500, {}, "HTTP 500", 10), (401, {}, "HTTP 401", 10), (503, {"Retry-After": "120"}, "HTTP 503", 120),
        (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, "HTTP 429", 10),
    ],
)  # fmt: skip
def test_a_refusal_is_noted_and_tried_again(
    webhook: WebSink, status: int, answer: dict[str, str], error: str, pause: int
) -> None:
    webhook.status, webhook.answer = status, answer
    look({"a": "OSError"})
    before = timezone.now()
    send_all()
    delivery = Delivery.objects.get()
    assert (delivery.error, delivery.state) == (error, DeliveryState.WAITING)
    assert round((delivery.due_at - before).total_seconds()) in range(pause, pause + 10)


def test_redirects_are_not_followed(webhook: WebSink) -> None:
    with web_sink() as elsewhere:
        webhook.status, webhook.answer = 307, {"Location": elsewhere.url}
        look({"a": "OSError"})
        send_all()
        assert elsewhere.posted == []
    assert Delivery.objects.get().error == "HTTP 307 (redirects are not followed)"


def test_a_mail_server_that_refuses_is_tried_again(mail: MailSink) -> None:
    mail.refusal = "451 come back later"
    look({"a": "OSError"})
    send_all()
    assert "451" in Delivery.objects.get().error
    mail.refusal = ""
    later(seconds=11)
    assert send_all() == 1
    assert len(mail.mails) == 1


def test_no_secret_of_an_address_is_kept_or_logged(webhook: WebSink, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    webhook.status = 500
    look({"a": "OSError"})
    send_all()
    settings.ZENITH_NOTIFY_WEBHOOK_URL = "http://127.0.0.1:1/s3cret-part"
    later(minutes=1)
    send_all()
    assert "s3cret" not in Delivery.objects.get().error + caplog.text
    assert "Webhook did not accept a notification (attempt 2)" in caplog.text


def test_after_a_day_it_is_given_up_and_its_end_is_not_told(webhook: WebSink) -> None:
    webhook.status = 500
    look({"a": "OSError"})
    send_all()
    later(hours=25)
    send_all()
    assert states() == [("webhook", "opened", "given-up")]
    look(over={"a": "It ended."})
    assert send_all() == 0
    assert states() == [("webhook", "opened", "given-up")]


# --- Several engines ---


def test_two_engines_at_once_send_each_message_once(webhook: WebSink) -> None:
    for number in range(12):
        look({f"k{number:02}": "OSError"}, kind=NotificationKind.WORKER_GONE)
        send = Delivery.objects.order_by("-id")[0]
        Delivery.objects.filter(id=send.id).update(due_at=send.due_at - timedelta(seconds=60 - number))
    together = threading.Barrier(2)

    def engine() -> None:
        together.wait(timeout=10)
        send_all()
        connection.close()

    engines = [threading.Thread(target=engine) for _ in range(2)]
    for thread in engines:
        thread.start()
    for thread in engines:
        thread.join(timeout=60)
    assert sorted(key for posted in webhook.posted for key in keys(posted)) == [f"k{number:02}" for number in range(12)]


def test_what_one_engine_sends_no_other_takes_and_of_a_dead_one_it_is_taken_over(webhook: WebSink) -> None:
    look({"a": "OSError"})
    claimed = claim()
    assert claimed is not None
    assert claim() is None
    later(seconds=LEASE.total_seconds() + 1)
    taken_over = claim()
    assert taken_over is not None
    assert (taken_over.message.id, taken_over.attempt) == (claimed.message.id, 2)
    # The first was only slow: what it says of its failure does not disturb the second.
    record_outcome(claimed, channels.SendError("late"))
    assert Delivery.objects.get().error == ""
    record_outcome(taken_over)
    assert Delivery.objects.get().state == DeliveryState.SENT


def test_the_part_of_the_engine_sends_until_it_is_told_to_stop(webhook: WebSink) -> None:
    look({"a": "OSError"})
    stop = threading.Event()

    def engine() -> None:
        outbox.run(stop)
        connection.close()

    thread = threading.Thread(target=engine)
    thread.start()
    try:
        from tests.waiting import eventually

        eventually(lambda: Delivery.objects.filter(state=DeliveryState.SENT).exists())
    finally:
        stop.set()
        thread.join(timeout=10)
    assert not thread.is_alive()


# --- manage.py notify ---


def run(*options: str) -> str:
    out = StringIO()
    call_command("notify", *options, stdout=out)
    return out.getvalue()


def test_the_command_says_what_is_set(webhook: WebSink, settings: Any) -> None:
    settings.ZENITH_NOTIFY_ROUTES = parse_routes("webhook=critical")
    lines = run().splitlines()
    assert lines == [
        "email    not set (ZENITH_NOTIFY_EMAIL)", "slack    not set (ZENITH_NOTIFY_SLACK_URL)",
        "webhook  gets critical and above",
    ]  # fmt: skip


def test_the_command_sends_a_test_through_each_channel(webhook: WebSink, mail: MailSink, slack: WebSink) -> None:
    rows = json.loads(run("--test", "--json"))
    assert [(row["channel"], row["error"]) for row in rows] == [("email", None), ("slack", None), ("webhook", None)]
    assert mail.mails[0]["Subject"] == "[Zenith] Test: notifications arrive"
    assert webhook.posted[0].json == {
        "type": "notification.test", "id": webhook.posted[0].headers["webhook-id"], "data": {"notifications": []},
    }  # fmt: skip
    assert "Test: notifications arrive" in slack.posted[0].json["text"]


def test_a_test_that_does_not_arrive_fails(webhook: WebSink, mail: MailSink) -> None:
    webhook.status = 500
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("notify", "--test", stdout=out)
    assert ended.value.code == 1
    assert out.getvalue().splitlines() == ["email    sent", "webhook  failed: HTTP 500"]


def test_a_test_of_what_is_not_set_is_refused(mail: MailSink, settings: Any) -> None:
    with pytest.raises(CommandError, match="ZENITH_NOTIFY_SLACK_URL"):
        run("--test", "--channel", "slack")
    settings.ZENITH_NOTIFY_EMAIL = []
    with pytest.raises(CommandError, match=r"Nothing was sent: ZENITH_NOTIFY_EMAIL, .* are not set"):
        run("--test")
