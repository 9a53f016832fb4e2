"""What people can be told of, and how much it matters."""

from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """How much it matters, the least first."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def sentence(self) -> str:
        """What it asks of people."""
        return _SEVERITIES[self]

    @property
    def rank(self) -> int:
        """Its place: a greater one matters more."""
        return list(Severity).index(self)


_SEVERITIES: Final = {
    Severity.INFO: "Good to know.",
    Severity.WARNING: "Somebody should look at it today.",
    Severity.CRITICAL: "Work has stopped or is at risk; somebody should look at it now.",
}


class NotificationKind(StrEnum):
    """What a notification is about: each kind has its rule."""

    DEAD_LETTER = "dead-letter"
    WORKER_GONE = "worker-gone"
    QUEUE_AGE = "queue-age"
    STREAM_LAG = "stream-lag"
    NODE_FAILED = "node-failed"
    HOST_UNREACHABLE = "host-unreachable"
    FAULT = "fault"
    SET_ASIDE = "set-aside"

    @property
    def label(self) -> str:
        """Its name on a page."""
        return _LABELS[self]

    @property
    def sentence(self) -> str:
        """When there is one."""
        return _SENTENCES[self]


_LABELS: Final = {
    NotificationKind.DEAD_LETTER: "New failure",
    NotificationKind.WORKER_GONE: "Worker gone",
    NotificationKind.QUEUE_AGE: "Queue backs up",
    NotificationKind.STREAM_LAG: "Recorder behind",
    NotificationKind.NODE_FAILED: "Node failed",
    NotificationKind.HOST_UNREACHABLE: "Host unreachable",
    NotificationKind.FAULT: "Zenith fails",
    NotificationKind.SET_ASIDE: "Set aside",
}
_SENTENCES: Final = {
    NotificationKind.DEAD_LETTER: "Tasks gave up for a cause that is new, or that had been quiet.",
    NotificationKind.WORKER_GONE: "A worker stopped beating without saying goodbye.",
    NotificationKind.QUEUE_AGE: "The oldest task of a queue has waited for too long.",
    NotificationKind.STREAM_LAG: "What workers report is not recorded: pages show old news.",
    NotificationKind.NODE_FAILED: "A worker node could not be started, or ends again and again.",
    NotificationKind.HOST_UNREACHABLE: "The agent of a Docker host is silent, or cannot reach its engine.",
    NotificationKind.FAULT: "A part of Zenith met an error that nobody foresaw; it tries again, and the others go on.",
    NotificationKind.SET_ASIDE: "A report or a heartbeat could not be read, and was set aside.",
}


class Channel(StrEnum):
    """A way out of Zenith."""

    EMAIL = "email"
    SLACK = "slack"
    WEBHOOK = "webhook"

    @property
    def label(self) -> str:
        """Its name on a page."""
        return _CHANNELS[self]


_CHANNELS: Final = {Channel.EMAIL: "E-mail", Channel.SLACK: "Slack", Channel.WEBHOOK: "Webhook"}
