"""Channels that administrators make on the page: sealed, tested by an engine, and kept out of the operator's network."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

from tasks_app.watching import engine_key
from tests.sinks import WebSink, web_sink
from zenith_site.common.encryption import encrypt
from zenith_site.models import AuditEntry
from zenith_site.notify import channels, egress
from zenith_site.notify.channels import SendError
from zenith_site.notify.decisions import Alert, Evaluation
from zenith_site.notify.destinations import Destination, open_row, purpose_of
from zenith_site.notify.kinds import Channel, NotificationKind, Severity
from zenith_site.notify.messages import TEST, OutgoingMessage
from zenith_site.notify.models import Delivery, DeliveryState, NotificationChannel, NotificationRule
from zenith_site.notify.outbox import send_next
from zenith_site.notify.rules import Rule
from zenith_site.notify.watch import report

pytestmark = pytest.mark.django_db(transaction=True)
HTMX = {"HX-Request": "true"}
SECRET = "a secret of more than sixteen"


@pytest.fixture
def root(admin: User) -> Client:
    client = Client(headers={"Accept": "text/html"})
    client.force_login(admin)
    return client


@pytest.fixture
def sink(settings: Any) -> Iterator[WebSink]:
    """A receiver on the loopback, which the operator has named."""
    settings.ZENITH_NOTIFY_HOSTS = ["127.0.0.1"]
    with web_sink() as sink:
        yield sink


def make(client: Client, kind: str, **fields: str) -> Any:
    return client.post(f"/notifications/channels/new/?kind={kind}", {"name": "Ops", "least": "", **fields})


def test_an_address_is_sealed_for_engines_and_never_shown_again(root: Client, sink: WebSink) -> None:
    engine_key.tell()
    assert make(root, "webhook", address=sink.url, secret=SECRET).status_code == 302
    row = NotificationChannel.objects.get()
    assert open_row(row) == Destination(Channel.WEBHOOK, (sink.url,), SECRET, entered=True)
    assert repr(open_row(row)) == "Destination(webhook)"
    shown = [
        row.sealed, str(AuditEntry.objects.values()),
        *(root.get(f"/notifications/channels/{part}").content.decode() for part in ("", f"{row.pk}/")),
    ]  # fmt: skip
    for text in shown:
        assert "s3cret-part" not in text
        assert SECRET not in text


def test_without_an_engine_nothing_is_stored(root: Client) -> None:
    answer = make(root, "slack", address="https://hooks.example.com/x")
    assert answer.status_code == 422
    assert "No engine has started" in answer.content.decode()
    assert not NotificationChannel.objects.exists()


def test_a_test_goes_out_through_an_engine_and_the_page_says_so(root: Client, sink: WebSink) -> None:
    engine_key.tell()
    make(root, "slack", address=sink.url)
    key = NotificationChannel.objects.get().key
    assert "never" in root.get("/notifications/channels/").content.decode()
    root.post(f"/notifications/channels/test/{key}/")
    root.post(f"/notifications/channels/test/{key}/")
    assert "Waits for an engine" in root.get("/notifications/channels/").content.decode()
    assert send_next()
    assert not send_next()
    assert [posted.json["text"].split("\n")[0] for posted in sink.posted] == ["🔵 *Test: notifications arrive*"]
    assert "Accepted" in root.get("/notifications/channels/").content.decode()
    sink.status = 404
    root.post(f"/notifications/channels/test/{key}/")
    assert send_next()
    assert Delivery.objects.get().state == DeliveryState.GIVEN_UP
    assert "HTTP 404" in root.get("/notifications/channels/").content.decode()
    assert root.post("/notifications/channels/test/nothing/").status_code == 404


def test_channels_of_the_environment_are_shown_as_such_and_tested(root: Client, settings: Any) -> None:
    with web_sink() as sink:
        settings.ZENITH_NOTIFY_SLACK_URL = sink.url
        page = root.get("/notifications/channels/").content.decode()
        assert "ZENITH_NOTIFY_SLACK_URL" in page
        assert sink.url not in page
        root.post("/notifications/channels/test/slack/")
        assert send_next()
        assert len(sink.posted) == 1


def test_a_channel_gets_what_is_severe_enough(root: Client, sink: WebSink) -> None:
    engine_key.tell()
    make(root, "slack", name="Warnings", address=sink.url, least="warning")
    make(root, "slack", name="Rules only", address=sink.url)
    for severity in (Severity.INFO, Severity.CRITICAL):
        with transaction.atomic():
            report(
                Rule(NotificationKind.FAULT, severity, lambda _: Evaluation()), Evaluation([Alert(severity, severity, "", "/")])
            )
    warnings = NotificationChannel.objects.get(name="Warnings")
    assert [(sent.channel, sent.notification.severity) for sent in Delivery.objects.select_related("notification")] == [
        (warnings.key, "critical")
    ]
    assert send_next()
    assert len(sink.posted) == 1


def test_a_stored_address_stays_if_no_other_is_entered(root: Client, sink: WebSink) -> None:
    engine_key.tell()
    make(root, "slack", address=sink.url)
    row = NotificationChannel.objects.get()
    page = f"/notifications/channels/{row.pk}/"
    assert root.post(page, {"name": "Renamed", "least": "critical", "address": ""}).status_code == 302
    changed = NotificationChannel.objects.get()
    assert (changed.name, changed.least, changed.sealed) == ("Renamed", "critical", row.sealed)


def test_a_removed_channel_goes_from_rules_and_what_waits_for_it_is_skipped(root: Client, sink: WebSink) -> None:
    engine_key.tell()
    make(root, "slack", address=sink.url, least="info")
    row = NotificationChannel.objects.get()
    NotificationRule.objects.create(name="Mine", subject="failures", severity="info", channels=[row.key, "slack"])
    with transaction.atomic():
        report(Rule(NotificationKind.FAULT, Severity.INFO, lambda _: Evaluation()), Evaluation([Alert("x", "x", "", "/")]))
    page = f"/notifications/channels/{row.pk}/remove/"
    assert "1 rule sends to it" in root.get(page).content.decode()
    root.post(page)
    assert not NotificationChannel.objects.exists()
    assert NotificationRule.objects.get().channels == ["slack"]
    assert not send_next()
    assert Delivery.objects.get().state == DeliveryState.SKIPPED
    assert sink.posted == []


def test_an_address_that_no_engine_can_read_is_a_failed_message(settings: Any, root: Client) -> None:
    id_ = uuid4()
    NotificationChannel.objects.create(id=id_, name="Old", kind="slack", sealed=encrypt("{}", purpose_of(uuid4())))
    root.post(f"/notifications/channels/test/{id_}/")
    assert send_next()
    assert "cannot be read" in Delivery.objects.get().error


REFUSED = {
    "loopback": "http://127.0.0.1/", "localhost": "http://localhost:8000/", "loopback v6": "http://[::1]/",
    "private": "https://10.0.0.7/", "metadata": "http://169.254.169.254/latest/meta-data/", "shared": "http://100.64.0.1/",
    "mapped": "http://[::ffff:10.0.0.1]/", "unspecified": "http://0.0.0.0/", "local v6": "http://[fe80::1]/",
    "nat64": "http://[64:ff9b::a00:1]/", "6to4": "http://[2002:a00:1::]/", "multicast": "http://224.0.0.1/",
    "file": "file:///etc/passwd", "gopher": "gopher://hooks.example.com/", "login": "https://u:p@hooks.example.com/",
    "no host": "https:///x", "white space": "https://hooks.example.com/ x", "line break": "https://hooks.example.com/\r\nX: y",
    "unicode": "https://hooks.example.com/ü", "long": f"https://hooks.example.com/{'x' * 2000}", "empty": " ",
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_page_enters_no_address_inside_the_network_nor_what_is_no_address(what: str, root: Client) -> None:
    engine_key.tell()
    answer = make(root, "slack", address=REFUSED[what])
    assert answer.status_code == 422
    assert not NotificationChannel.objects.exists()


@pytest.mark.parametrize("addresses", ["ops", "ops@example.com, evil\r\nBcc: x@y.z", "a@b.c," * 21, "<a@b.c>", ","])
def test_what_is_no_list_of_mail_addresses_is_refused(addresses: str, root: Client) -> None:
    engine_key.tell()
    assert make(root, "email", address=addresses).status_code == 422


def test_a_weak_secret_and_a_taken_name_are_refused(root: Client) -> None:
    engine_key.tell()
    assert make(root, "webhook", address="https://hooks.example.com/", secret="short").status_code == 422
    assert make(root, "email", address="ops@example.com").status_code == 302
    assert make(root, "email", address="ops@example.com").status_code == 422
    assert NotificationChannel.objects.count() == 1


def resolved_to(*addresses: str) -> Any:
    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return getaddrinfo


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("93.184.215.14", "10.0.0.1")], ids=["loopback", "one of two"])
def test_a_name_that_leads_into_the_network_gets_nothing(addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress.socket, "getaddrinfo", resolved_to(*addresses))
    with web_sink() as sink:
        to = Destination(Channel.SLACK, (f"http://hooks.example.com:{sink.port}/",), entered=True)
        with pytest.raises(SendError, match="ZENITH_NOTIFY_HOSTS") as raised:
            channels.send(to, OutgoingMessage(uuid4(), TEST, []))
        assert "127" not in str(raised.value)
        assert sink.posted == []


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def connected(address: Any, *_: Any) -> socket.socket:
        asked.append(address)
        raise OSError("as far as this test goes")

    monkeypatch.setattr(egress.socket, "getaddrinfo", resolved_to("93.184.215.14"))
    monkeypatch.setattr(egress.socket, "create_connection", connected)
    with pytest.raises(SendError):
        channels.send(
            Destination(Channel.SLACK, ("http://hooks.example.com/",), entered=True), OutgoingMessage(uuid4(), TEST, [])
        )
    assert asked == [("93.184.215.14", 80)]


def test_redirects_are_not_followed(sink: WebSink) -> None:
    sink.status, sink.answer = 302, {"Location": "http://169.254.169.254/"}
    with pytest.raises(SendError, match="redirects are not followed"):
        channels.send(Destination(Channel.SLACK, (sink.url,), entered=True), OutgoingMessage(uuid4(), TEST, []))
    assert len(sink.posted) == 1


def test_only_administrators_see_and_make_channels(person: Client) -> None:
    for path in ("", "new/", f"{uuid4()}/", f"{uuid4()}/remove/"):
        assert person.get(f"/notifications/channels/{path}").status_code == 403
    assert "/notifications/channels/" not in person.get("/notifications/").content.decode()
