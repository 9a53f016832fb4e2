"""The kinds of notifications, and their severities."""

from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """The severity of a notification, the least first."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def sentence(self) -> str:
        """What the severity means for people."""
        return _SEVERITIES[self]

    @property
    def rank(self) -> int:
        """The position in the order; a greater one is more severe."""
        return list(Severity).index(self)


_SEVERITIES: Final = {
    Severity.INFO: "Good to know.",
    Severity.WARNING: "Somebody should look at it today.",
    Severity.CRITICAL: "Work has stopped or is at risk; somebody should look at it now.",
}


class NotificationKind(StrEnum):
    """What a notification is about; each kind has a rule."""

    DEAD_LETTER = "dead-letter"
    WORKER_GONE = "worker-gone"
    QUEUE_AGE = "queue-age"
    STREAM_LAG = "stream-lag"
    NODE_FAILED = "node-failed"
    HOST_UNREACHABLE = "host-unreachable"
    FAULT = "fault"
    SET_ASIDE = "set-aside"
    RULE = "rule"

    @property
    def label(self) -> str:
        """The name for display."""
        return _LABELS[self]

    @property
    def sentence(self) -> str:
        """When a notification of this kind is opened."""
        return _SENTENCES[self]


_LABELS: Final = {
    NotificationKind.DEAD_LETTER: "New failure",
    NotificationKind.WORKER_GONE: "Worker lost",
    NotificationKind.QUEUE_AGE: "Queue backing up",
    NotificationKind.STREAM_LAG: "Recorder behind",
    NotificationKind.NODE_FAILED: "Node failed",
    NotificationKind.HOST_UNREACHABLE: "Host unreachable",
    NotificationKind.FAULT: "Internal error",
    NotificationKind.SET_ASIDE: "Set aside",
    NotificationKind.RULE: "Rule of your own",
}
_SENTENCES: Final = {
    NotificationKind.DEAD_LETTER: "Tasks failed for good, for a cause that is new or had been quiet.",
    NotificationKind.WORKER_GONE: "A worker's heartbeats stopped, and it did not shut down.",
    NotificationKind.QUEUE_AGE: "A queue's oldest task has been waiting for too long.",
    NotificationKind.STREAM_LAG: "Workers' reports are not being recorded, so pages are out of date.",
    NotificationKind.NODE_FAILED: "A node could not start, or keeps ending.",
    NotificationKind.HOST_UNREACHABLE: "A Docker host's agent is silent, or cannot reach its Docker Engine.",
    NotificationKind.FAULT: "A part of Zenith failed unexpectedly. It retries, and the other parts keep running.",
    NotificationKind.SET_ASIDE: "A report or a heartbeat could not be read, and was set aside.",
    NotificationKind.RULE: "What somebody described in a rule on the page happens.",
}


#: The kinds that Zenith notices by itself, without a rule that people made.
BUILT_IN: Final = tuple(kind for kind in NotificationKind if kind is not NotificationKind.RULE)


class Subject(StrEnum):
    """What a rule that people make is about."""

    FAILURES = "failures"
    FAILURE_SHARE = "failure-share"
    QUEUE_DEPTH = "queue-depth"
    WORKER_GONE = "worker-gone"
    KIND = "kind"

    @property
    def label(self) -> str:
        """The name for display."""
        return _SUBJECTS[self][0]

    @property
    def sentence(self) -> str:
        """When a rule about it opens a notification."""
        return _SUBJECTS[self][1]

    @property
    def filters(self) -> tuple[str, ...]:
        """The fields that narrow such a rule down."""
        return _SUBJECTS[self][2]

    @property
    def numbers(self) -> tuple[str, ...]:
        """The fields with the numbers that such a rule compares with."""
        return _SUBJECTS[self][3]


_SUBJECTS: Final[dict[Subject, tuple[str, str, tuple[str, ...], tuple[str, ...]]]] = {
    Subject.FAILURES: (
        "Tasks fail for good", "More tasks than a number fail for good within some minutes.",
        ("task", "queue", "error_type", "fingerprint", "application"), ("threshold", "minutes"),
    ),
    Subject.FAILURE_SHARE: (
        "A share of tasks fails", "More than a share of the tasks that end within some minutes fails for good.",
        ("task", "queue", "application"), ("share", "threshold", "minutes"),
    ),
    Subject.QUEUE_DEPTH: (
        "Messages wait in a queue", "More messages than a number wait, without a break, for some minutes.",
        ("queue", "application"), ("threshold", "minutes"),
    ),
    Subject.WORKER_GONE: (
        "A worker is gone", "A worker sends no heartbeat any more, and did not shut down.", ("worker", "application"), (),
    ),
    Subject.KIND: (
        "Zenith notices something", "More notifications of one kind than a number are opened within some minutes.",
        ("kind",), ("threshold", "minutes"),
    ),
}  # fmt: skip


class Channel(StrEnum):
    """A kind of channel through which notifications leave Zenith; the environment sets up one of each at most."""

    EMAIL = "email"
    SLACK = "slack"
    WEBHOOK = "webhook"

    @property
    def label(self) -> str:
        """The name for display."""
        return _CHANNELS[self]


_CHANNELS: Final = {Channel.EMAIL: "E-mail", Channel.SLACK: "Slack", Channel.WEBHOOK: "Webhook"}
