"""What goes out where and how often, as the environment says it; pauses between attempts; signatures."""

from __future__ import annotations

import base64

import pytest

from zenith_site.notify.kinds import Channel, NotificationKind, Severity
from zenith_site.notify.outbox import pause_after
from zenith_site.notify.routes import EVERYTHING, Route, Throttle, parse_routes, parse_throttle
from zenith_site.notify.signing import is_signing_secret, signature


@pytest.mark.parametrize(
    ("text", "email", "slack"),
    [
        ("", EVERYTHING, EVERYTHING),
        ("email=all", EVERYTHING, EVERYTHING),
        ("email=critical", Route(Severity.CRITICAL), EVERYTHING),
        ("email=critical,dead-letter", Route(Severity.CRITICAL, frozenset({NotificationKind.DEAD_LETTER})), EVERYTHING),
        (
            " email = worker-gone , queue-age ;",
            Route(None, frozenset({NotificationKind.WORKER_GONE, NotificationKind.QUEUE_AGE})),
            EVERYTHING,
        ),
        ("email=warning;slack=critical", Route(Severity.WARNING), Route(Severity.CRITICAL)),
    ],
)
def test_routes_are_read(text: str, email: Route, slack: Route) -> None:
    routes = parse_routes(text)
    assert routes is not None
    assert (routes[Channel.EMAIL], routes[Channel.SLACK]) == (email, slack)


@pytest.mark.parametrize(
    "text", ["email", "email=", "email=everything", "pager=all", "email=warning,critical", "email=all,critical"]
)
def test_routes_that_cannot_be_are_refused(text: str) -> None:
    assert parse_routes(text) is None


@pytest.mark.parametrize(
    ("route", "kind", "severity", "takes"),
    [
        (EVERYTHING, NotificationKind.DEAD_LETTER, Severity.INFO, True),
        (Route(Severity.WARNING), NotificationKind.DEAD_LETTER, Severity.INFO, False),
        (Route(Severity.WARNING), NotificationKind.DEAD_LETTER, Severity.WARNING, True),
        (Route(Severity.WARNING), NotificationKind.STREAM_LAG, Severity.CRITICAL, True),
        (
            Route(Severity.CRITICAL, frozenset({NotificationKind.DEAD_LETTER})),
            NotificationKind.DEAD_LETTER,
            Severity.WARNING,
            True,
        ),
        (
            Route(Severity.CRITICAL, frozenset({NotificationKind.DEAD_LETTER})),
            NotificationKind.QUEUE_AGE,
            Severity.WARNING,
            False,
        ),
        (Route(None, frozenset({NotificationKind.DEAD_LETTER})), NotificationKind.STREAM_LAG, Severity.CRITICAL, False),
    ],
)
def test_a_channel_takes_what_its_route_says(route: Route, kind: NotificationKind, severity: Severity, takes: bool) -> None:
    assert route.takes(kind, severity) is takes


def test_a_route_says_what_it_takes() -> None:
    assert [str(EVERYTHING), str(Route(Severity.CRITICAL, frozenset({NotificationKind.DEAD_LETTER})))] == [
        "all",
        "critical and above, dead-letter",
    ]


@pytest.mark.parametrize(
    ("text", "seconds", "of_worker"),
    [("300", 300, 300), ("0", 0, 0), ("300,worker-gone=60", 300, 60), ("60, worker-gone=0 ,queue-age=86400", 60, 0)],
)
def test_throttles_are_read(text: str, seconds: int, of_worker: int) -> None:
    throttle = parse_throttle(text)
    assert throttle is not None
    assert (throttle.of(NotificationKind.DEAD_LETTER), throttle.of(NotificationKind.WORKER_GONE)) == (seconds, of_worker)


@pytest.mark.parametrize(
    "text", ["", "5m", "-1", "86401", "300,worker-gone", "300,worker-gone=x", "300,nobody=60", "worker-gone=60"]
)
def test_throttles_that_cannot_be_are_refused(text: str) -> None:
    assert parse_throttle(text) is None


def test_a_throttle_is_shown_as_it_is_set() -> None:
    assert str(Throttle(300, {NotificationKind.WORKER_GONE: 60})) == "300,worker-gone=60"


@pytest.mark.parametrize(
    ("attempt", "retry_after", "seconds"),
    [
        (1, None, 10),
        (2, None, 20),
        (5, None, 160),
        (9, None, 1800),
        (60_000, None, 1800),
        (1, 90.0, 90),
        (5, 90.0, 160),
        (1, 9e9, 3600),
    ],
)
def test_pauses_grow_and_mind_what_the_receiver_wishes(attempt: int, retry_after: float | None, seconds: float) -> None:
    assert pause_after(attempt, retry_after) == seconds


def test_a_signature_is_that_of_the_standard() -> None:
    """The example of the Standard Webhooks specification's own test suites."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    found = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("secret", "fit"),
    [
        ("", False), ("short", False), ("x" * 16, True), ("whsec_" + base64.b64encode(b"x" * 16).decode(), True),
        ("whsec_" + base64.b64encode(b"x" * 8).decode(), False), ("whsec_no base64 at all!", False),
    ],
)  # fmt: skip
def test_a_secret_has_to_be_fit_to_sign_with(secret: str, fit: bool) -> None:
    assert is_signing_secret(secret) is fit
